// SPDX-License-Identifier: Apache-2.0

package console

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// The header that changes things need. A page of another origin cannot set it without asking first,
// and is never allowed to.
const header = "X-Console"

// policy lets the page load what comes with it, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard refuses what a page of another origin may make a browser send, and names that somebody
// else's name server leads here.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		problem := s.foreign(r)
		if problem == "" {
			next.ServeHTTP(w, r)
			return
		}
		s.sim.Log.Warn("console refuses a request", "method", r.Method, "reason", problem)
		http.Error(w, problem, http.StatusForbidden)
	})
}

// foreign says why a request is not one of this page's, "" if it is.
func (s *Server) foreign(r *http.Request) string {
	if !s.known(r.Host) {
		return "this host name is not the console's: use localhost or the address it listens on"
	}
	if strings.HasPrefix(r.URL.Path, allocatePath) {
		return "" // it changes nothing, and its caller is no browser
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host || u.Scheme != "http" {
			return "the request comes from a page of another origin"
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin":
	case "none": // typed or bookmarked
	default:
		// A link to the page itself is harmless.
		if r.URL.Path != "/" || r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			return "the request comes from a page of another origin"
		}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Header.Get(header) == "" {
		return "a request that changes something needs the header " + header
	}
	return ""
}

// known says whether a Host header is one of the console's names. An address is never led astray by
// a name server.
func (s *Server) known(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.Trim(name, "[]")
	return net.ParseIP(name) != nil || strings.EqualFold(name, "localhost") ||
		s.host != "" && strings.EqualFold(name, s.host)
}

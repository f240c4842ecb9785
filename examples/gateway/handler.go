// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/subtle"
	"net"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rehome-iot/rehome/examples/gateway/intake"
)

// policy lets the status page load nothing: its style stands in it.
const policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; " +
	"form-action 'self'; frame-ancestors 'none'"

// handler serves all of HTTP. What orchestrators ask needs no token.
func (g *gateway) handler(address net.Addr) http.Handler {
	inner := http.NewServeMux()
	inner.Handle(intake.Pattern, intake.NewHTTP(g, g.metrics.counter("http")))
	inner.HandleFunc("GET /v1/devices", g.serveDevices)
	inner.HandleFunc("GET /v1/devices/{id}", g.serveDevice)
	inner.Handle("GET /metrics", promhttp.HandlerFor(g.metrics.registry, promhttp.HandlerOpts{}))
	inner.HandleFunc("GET /{$}", g.servePage)

	outer := http.NewServeMux()
	outer.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	outer.HandleFunc("GET /readyz", g.serveReady)
	outer.Handle("/", g.guard(inner, address))
	// A page in somebody's browser can neither send messages nor, by a name of its own that leads
	// here, read.
	return http.NewCrossOriginProtection().Handler(outer)
}

// guard asks for the token, if there is one. Where there is none and only this machine is listened
// to, it refuses names that somebody's name server leads here.
func (g *gateway) guard(next http.Handler, address net.Addr) http.Handler {
	tcp, ok := address.(*net.TCPAddr)
	local := ok && tcp.IP.IsLoopback()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		switch {
		case g.o.token != "" && !g.authorized(r):
			h.Set("WWW-Authenticate", `Basic realm="gateway", charset="UTF-8"`)
			intake.Refuse(w, &intake.Refusal{
				Status: http.StatusUnauthorized,
				Text:   "show the token: Authorization: Bearer …, or as the password of Basic",
			})
		case g.o.token == "" && local && !isAddress(r.Host):
			intake.Refuse(w, &intake.Refusal{
				Status: http.StatusForbidden,
				Text:   "use localhost or an address in the URL: other names are not the gateway's",
			})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// authorized looks for the token. Browsers have it as a password.
func (g *gateway) authorized(r *http.Request) bool {
	shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, shown, _ = r.BasicAuth()
	}
	return subtle.ConstantTimeCompare([]byte(shown), []byte(g.o.token)) == 1
}

// isAddress says that a Host header was not led here by a name server.
func isAddress(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.Trim(name, "[]")
	return net.ParseIP(name) != nil || strings.EqualFold(name, "localhost")
}

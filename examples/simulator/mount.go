// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

const (
	// prefix is where the simulator's own interface is, beside what the service has.
	prefix = "/simulator"
	// ownHost is the interface's host name. The host of DPS has it too, and with it localhost, but
	// a fault of the network to that host is one of the interface there.
	ownHost = "simulator.test"
)

// mounted is a site of the network with the simulator's own interface under prefix.
type mounted struct {
	simnet.Site
	own http.Handler
}

func (m mounted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == prefix || strings.HasPrefix(r.URL.Path, prefix+"/") {
		m.own.ServeHTTP(w, r)
		return
	}
	m.Site.ServeHTTP(w, r)
}

// ownSite is the host that has nothing but the interface.
type ownSite struct{ simnet.Site }

func (ownSite) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// mount puts the simulator's own interface on the HTTPS listener.
func (s *simulator) mount() {
	own := requireKey(s.feedKey, http.StripPrefix(prefix, s.feed.handler()))
	s.network.Handle(s.dps.Endpoint(), mounted{s.dps, own})
	// MQTT clients that name it get DPS, as those do that name nothing.
	s.network.Handle(ownHost, mounted{ownSite{s.dps}, own})
}

// requireKey lets in who has the key: "Authorization: Bearer KEY".
func requireKey(key string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(given), []byte(key)) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="simulator"`)
			refuseRequest(w, http.StatusUnauthorized, "send Authorization: Bearer and the "+
				"feedKey of the ready line")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// minFeedKey is how many characters a key has at least: one of fewer can be guessed.
const minFeedKey = 16

// feedKey is the key in a file, which is made if there is none; without a file a new one.
func feedKey(file string) (string, error) {
	if file == "" {
		return newFeedKey(), nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key := newFeedKey()
		return key, os.WriteFile(file, []byte(key+"\n"), 0o600)
	}
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(data))
	if len(key) < minFeedKey || strings.ContainsFunc(key, func(r rune) bool {
		return r <= ' ' || r > '~'
	}) {
		return "", fmt.Errorf("%s: has no key of %d printable characters or more: remove it for "+
			"a new one", file, minFeedKey)
	}
	return key, nil
}

func newFeedKey() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

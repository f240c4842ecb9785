// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRedirectsGoWhereCurlsWould(t *testing.T) {
	for _, c := range []struct {
		rules    []string
		from, to string
	}{
		{nil, "hub.example:8883", "hub.example:8883"},
		{[]string{":::"}, "hub.example:8883", "hub.example:8883"},
		{[]string{":8883:127.0.0.1:18883"}, "hub.example:8883", "127.0.0.1:18883"},
		{[]string{":8883:127.0.0.1:18883"}, "hub.example:443", "hub.example:443"},
		{[]string{"hub.example::127.0.0.1:"}, "hub.example:443", "127.0.0.1:443"},
		{[]string{"hub.example::127.0.0.1:"}, "other.example:443", "other.example:443"},
		{[]string{"HUB.example:443::8443"}, "hub.Example:443", "hub.Example:8443"},
		{[]string{"::[::1]:"}, "hub.example:443", "[::1]:443"},
		{[]string{"::[fe80::1%eth0]:18883"}, "hub.example:8883", "[fe80::1%eth0]:18883"},
		{[]string{"[2001:db8::1]:443:localhost:8443"}, "[2001:db8::1]:443", "localhost:8443"},
		{[]string{"a:443:b:1", "::c:2"}, "a:443", "b:1"},
		{[]string{"a:443:b:1", "::c:2"}, "x:443", "c:2"},
		{[]string{"::a:1", "a:443:b:2"}, "a:443", "a:1"},
	} {
		var rs Redirects
		for _, text := range c.rules {
			r, err := parseRedirect(text)
			require.NoError(t, err, text)
			rs = append(rs, r)
		}
		assert.Equal(t, c.to, rs.Apply(c.from), "%v", c.rules)
	}
}

func FuzzParseRedirect(f *testing.F) {
	for _, text := range []string{":::", "a:1:b:2", "[::1]:443:[::2]:8443", "::[", ":::0", "::::"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRedirect(text)
		if err != nil {
			return
		}
		part := func(host string) string {
			for _, c := range host {
				if c == ':' {
					return "[" + host + "]"
				}
			}
			return host
		}
		again, err := parseRedirect(
			part(r.fromHost) + ":" + r.fromPort + ":" + part(r.toHost) + ":" + r.toPort,
		)
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}

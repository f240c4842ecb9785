// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Redirect is one -connect-to: connections to a host and port go to another. It changes where the
// bytes go and nothing else: certificates are still checked for the name that was asked for.
type Redirect struct {
	fromHost, fromPort string // "" matches all
	toHost, toPort     string // "" keeps what was asked for
}

// Redirects are tried in order; the first that matches counts.
type Redirects []Redirect

// parseRedirect reads HOST:PORT:HOST:PORT, where each part may be empty and an IPv6 address stands
// in brackets.
func parseRedirect(text string) (Redirect, error) {
	var parts [4]string
	rest := text
	for i := range parts {
		if i > 0 {
			var found bool
			if rest, found = strings.CutPrefix(rest, ":"); !found {
				return Redirect{}, errNotRedirect
			}
		}
		if strings.HasPrefix(rest, "[") {
			address, after, closed := strings.Cut(rest[1:], "]")
			if !closed || i%2 == 1 || net.ParseIP(withoutZone(address)) == nil {
				return Redirect{}, errNotRedirect
			}
			parts[i], rest = address, after
			continue
		}
		end := strings.IndexByte(rest, ':')
		if end < 0 {
			end = len(rest)
		}
		parts[i], rest = rest[:end], rest[end:]
	}
	if rest != "" {
		return Redirect{}, errNotRedirect
	}
	for _, port := range []string{parts[1], parts[3]} {
		if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
			return Redirect{}, fmt.Errorf("has a port that is none: ports are 1 to 65535")
		}
	}
	return Redirect{fromHost: parts[0], fromPort: parts[1], toHost: parts[2], toPort: parts[3]}, nil
}

var errNotRedirect = errors.New(
	"is not HOST:PORT:HOST:PORT: three colons, parts may be empty, IPv6 addresses in brackets",
)

func withoutZone(address string) string {
	address, _, _ = strings.Cut(address, "%")
	return address
}

// Apply returns where a connection to address goes.
func (rs Redirects) Apply(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	for _, r := range rs {
		if r.fromHost != "" && !strings.EqualFold(r.fromHost, host) ||
			r.fromPort != "" && r.fromPort != port {
			continue
		}
		if r.toHost != "" {
			host = r.toHost
		}
		if r.toPort != "" {
			port = r.toPort
		}
		return net.JoinHostPort(host, port)
	}
	return address
}

// DialContext dials where a connection to address goes.
func (rs Redirects) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, rs.Apply(address))
}

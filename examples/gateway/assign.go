// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// checkServers says what is wrong with URLs of NATS servers, and does not repeat them: there may be
// passwords in them. The client would take what it does not know for another server that is away.
func checkServers(list string) error {
	schemes := map[bool]bool{} // of WebSocket, of others
	for _, at := range strings.Split(list, ",") {
		at = strings.TrimSpace(at)
		if !strings.Contains(at, "://") {
			at = "nats://" + at // as the client does
		}
		u, err := url.Parse(at)
		if err != nil || u.Hostname() == "" {
			return errors.New("has a part that is no url: use nats://HOST:PORT")
		}
		switch u.Scheme {
		case "nats", "tls":
			schemes[false] = true
		case "ws", "wss":
			schemes[true] = true
		default:
			return errors.New("has a part that is no url of nats: use nats, tls, ws or wss " +
				"before the ://")
		}
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if u.Port() != "" && (err != nil || n == 0) {
			return errors.New("has a port that is none: ports are 1 to 65535")
		}
	}
	if len(schemes) > 1 {
		return errors.New("mixes ws or wss with nats or tls: use one kind for all servers")
	}
	return nil
}

// leasesSuffix is what the bucket of leases is called besides the name that all share.
const leasesSuffix = "-leases"

var natsName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

func assignNATSName(field *string) func(string) error {
	return func(text string) error {
		if !natsName.MatchString(text) {
			return errors.New("is no name: use up to 64 letters, digits, hyphens and underscores")
		}
		if strings.HasSuffix(text, leasesSuffix) {
			return errors.New("ends as the name of a bucket of leases does: choose another")
		}
		*field = text
		return nil
	}
}

// address assigns where to listen.
func address(field *string) func(string) error {
	return func(text string) error {
		_, port, err := net.SplitHostPort(text)
		_, numeric := strconv.ParseUint(port, 10, 16)
		if path, unix := strings.CutPrefix(text, "unix:"); unix && path != "" || text == none ||
			err == nil && numeric == nil {
			*field = text
			return nil
		}
		return errors.New("is no address: use HOST:PORT, unix:PATH or none")
	}
}

// leastToken is how many characters a token needs, so that nobody guesses it.
const leastToken = 16

func assignToken(field *string) func(string) error {
	return func(text string) error {
		if len(text) < leastToken || strings.ContainsFunc(text, func(r rune) bool {
			return r <= ' ' || r > '~'
		}) {
			return fmt.Errorf("is no token: use %d characters or more, of ASCII without spaces, "+
				"such as from \"openssl rand -hex 24\"", leastToken)
		}
		*field = text
		return nil
	}
}

func rate(field *float64) func(string) error {
	return func(text string) error {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n > 0 && n <= 1e6) {
			return errors.New("is no rate: use a number above 0")
		}
		*field = n
		return nil
	}
}

func copies(field *int) func(string) error {
	return func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 5 {
			return errors.New("is no number of copies: use 1, 3 or 5")
		}
		*field = n
		return nil
	}
}

func bytes(field *int64) func(string) error {
	return func(text string) error {
		digits, shift := text, 0
		for suffix, s := range map[string]int{"K": 10, "M": 20, "G": 30} {
			if rest, ok := strings.CutSuffix(text, suffix); ok {
				digits, shift = rest, s
			}
		}
		n, err := strconv.ParseInt(digits, 10, 33)
		if err != nil || n<<shift < leastKept || n > 1<<40>>shift {
			return errors.New("is no size, or too small: use 320K or more, such as 16M or 1G")
		}
		*field = n << shift
		return nil
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// isNoURL says that an address of a server is none. What is wrong with it is not told: there may be
// a password in it.
func isNoURL(at string) bool {
	if !strings.Contains(at, "://") {
		at = "nats://" + at // as the client does
	}
	u, err := url.Parse(strings.TrimSpace(at))
	return err != nil || u.Host == ""
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

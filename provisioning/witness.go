// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// errNoHandshake is the cause of the end of a first try.
var errNoHandshake = errors.New("timed out: the service has not shown its certificate in time")

// reach is how far an attempt got.
type reach uint8

const (
	nobody      reach = iota // or somebody who is not the service
	certificate              // the service's was verified, and nothing came after it
	answer                   // of the service itself
)

// witness sees the certificate of the service, which nobody shows in its place: from then on there
// is no other try, and no limit but the transport's own.
type witness struct {
	_ [0]func() // as in home

	host  string
	began time.Time

	mu      sync.Mutex
	saw     bool
	sawAt   time.Time
	heard   bool
	expired bool
}

// within is a context that ends after limit if the certificate has not been seen by then.
func (w *witness) within(
	ctx context.Context, limit time.Duration,
) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() {
		w.mu.Lock()
		w.expired = !w.saw
		w.mu.Unlock()
		if w.expired {
			cancel(errNoHandshake)
		}
	})
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// watch is the configuration with an eye on the certificate. The program's own check goes first.
func (w *witness) watch(config *tls.Config) *tls.Config {
	if w == nil {
		return config
	}
	config = config.Clone()
	own := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if own != nil {
			if err := own(state); err != nil {
				return err
			}
		}
		// not that of a proxy on the way; an address has no server name
		address := net.ParseIP(strings.Trim(w.host, "[]")) != nil && state.ServerName == ""
		if address || strings.EqualFold(state.ServerName, strings.TrimSuffix(w.host, ".")) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.expired {
				return errNoHandshake // lest a request follows, beside that of the other try
			}
			if !w.saw {
				w.saw, w.sawAt = true, time.Now()
			}
		}
		return nil
	}
	return config
}

// took is how long it took until the certificate was seen; 0: it was not.
func (w *witness) took() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.saw {
		return 0
	}
	return w.sawAt.Sub(w.began)
}

// hear notes an answer in the course of an exchange, which has more than one.
func (w *witness) hear() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = true
}

// reached is how far the connections got, whatever the error says of an answer; a foreign one, of
// who may show the service's certificate because the device trusts it, is nobody's.
func (w *witness) reached(err error) reach {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.heard:
		return answer
	case w.saw && !isForeign(err):
		return certificate
	}
	return nobody
}

// unreachedError is why no transport reached the service. What the rules are to know of first
// stands first.
type unreachedError struct {
	other fmt.Stringer // the transport of the second error
	errs  []error
}

func unreached[T transport](tried []T, errs []error) error {
	if errs[0].Error() == errs[1].Error() {
		return errs[1] // such as a name that does not exist, which has no ports
	}
	if telling(errs[1]) > telling(errs[0]) {
		return &unreachedError{other: tried[0], errs: []error{errs[1], errs[0]}}
	}
	return &unreachedError{other: tried[1], errs: errs}
}

// Error is one line.
func (e *unreachedError) Error() string {
	return fmt.Sprintf("%v; over %v: %v", e.errs[0], e.other, e.errs[1])
}

// Unwrap returns both errors.
func (e *unreachedError) Unwrap() []error { return e.errs }

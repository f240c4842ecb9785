// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/retry"
)

func TestTheWitnessKnowsTheServiceByName(t *testing.T) {
	pinned := errors.New("not the one that is pinned")
	for name, c := range map[string]struct {
		host, shown string
		own         error
		want        reach
	}{
		"the service":          {host: "hub-a.example", shown: "HUB-A.example", want: certificate},
		"with the root's dot":  {host: "hub-a.example.", shown: "hub-a.example", want: certificate},
		"a proxy on the way":   {host: "hub-a.example", shown: "proxy.example", want: nobody},
		"an address":           {host: "[2001:db8::1]", shown: "", want: certificate},
		"no name":              {host: "hub-a.example", shown: "", want: nobody},
		"who the program bars": {host: "a.example", shown: "a.example", own: pinned, want: nobody},
	} {
		t.Run(name, func(t *testing.T) {
			w := &witness{host: c.host}
			base := &tls.Config{}
			if c.own != nil {
				base.VerifyConnection = func(tls.ConnectionState) error { return c.own }
			}
			err := w.watch(base).VerifyConnection(tls.ConnectionState{ServerName: c.shown})
			require.Equal(t, c.own, err)
			require.Equal(t, c.want, w.reached(errors.New("lost")))
			require.Equal(t, c.own == nil, base.VerifyConnection == nil, "the program's is its own")
		})
	}
}

func TestTheWitnessSeesNothingAfterItsTime(t *testing.T) {
	w := &witness{host: "a"}
	ctx, cancel := w.within(t.Context(), 1)
	defer cancel()
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), errNoHandshake)
	verify := w.watch(&tls.Config{}).VerifyConnection
	require.ErrorIs(t, verify(tls.ConnectionState{ServerName: "a"}), errNoHandshake,
		"no request follows")
	require.Equal(t, nobody, w.reached(nil))
}

func TestAnAttemptThatIsGivenUpIsNotTriedOverTheOtherPort(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	p := plan[hubconn.Transport]{order: autoHubTransports}
	_, err := p.try(ctx, "a", func(context.Context, hubconn.Transport, *witness) error {
		tries++
		cancel()
		return ctx.Err()
	}, hubReach)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, tries)
}

func TestWhatBothTransportsFailedOfIsOneFailure(t *testing.T) {
	const host = "hub-a.example"
	refused := &hubconn.Error{Op: "dial", Err: errors.New("refused")}
	untrusted := &hubconn.Error{Op: "dial", Class: retry.Untrusted, Err: errors.New("portal")}
	missing := &hubconn.Error{
		Op: "dial", Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true},
	}
	other := &hubconn.Error{Op: "renew", Err: missing.Err} // of another text
	both := func(first, second error) error {
		return unreached(autoHubTransports, []error{first, second})
	}
	for _, err := range []error{both(refused, untrusted), both(untrusted, refused)} {
		require.Equal(t, retry.Untrusted, hubconn.ClassOf(err))
		require.Contains(t, err.Error(), "portal; over ")
		require.ErrorIs(t, err, error(refused))
		require.Equal(t, retry.After(untrusted), retry.After(err))
	}
	require.Contains(t, both(refused, untrusted).Error(), "over mqtt: hubconn: dial")
	require.Contains(t, both(untrusted, refused).Error(), "over ws: hubconn: dial")
	require.True(t, nameNotFound(both(missing, missing), host))
	require.True(t, nameNotFound(both(missing, other), host))
	require.False(t, nameNotFound(both(missing, refused), host), "the other has found it")
	require.False(t, nameNotFound(both(refused, missing), host), "the other has found it")
}

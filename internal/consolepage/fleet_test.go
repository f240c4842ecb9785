// SPDX-License-Identifier: Apache-2.0

//go:build unix

package consolepage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// connectFleet registers and connects so many devices, which stay until the test ends.
func (s *simulator) connectFleet(t *testing.T, n int) {
	t.Helper()
	pem, err := os.ReadFile(s.CA)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	trust := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		to := s.HTTPS
		if port == "8883" {
			to = s.MQTT
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}
	conns := make([]*hubconn.Conn, n)
	join := func(i int) error {
		id := fmt.Sprintf("device-%04d", i)
		derived, err := dps.DeriveDeviceKey(key, id)
		if err != nil {
			return err
		}
		identity := dps.SymmetricKey{ID: id, Key: derived}
		client := &dps.Client{
			IDScope: s.IDScope, Attestation: identity, TLSConfig: trust, DialContext: dial,
			RequestTimeout: 2 * time.Minute,
		}
		assignment, err := client.Register(t.Context(), dps.Registration{})
		if err != nil {
			return err
		}
		dialer := &hubconn.Dialer{
			TLSConfig: trust, DialContext: dial, DialTimeout: 2 * time.Minute,
			ConnectTimeout: 2 * time.Minute,
		}
		conns[i], err = dialer.Dial(t.Context(), assignment.Target(), identity)
		return err
	}
	var wg sync.WaitGroup
	failed := make(chan error, n)
	for i := range n {
		wg.Go(func() {
			if err := join(i); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	t.Cleanup(func() {
		for _, c := range conns {
			if c != nil {
				wg.Go(func() { _ = c.Close() })
			}
		}
		wg.Wait()
	})
	select {
	case err := <-failed:
		require.NoError(t, err)
	default:
	}
}

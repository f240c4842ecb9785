package dps_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/internal/memnet"
	"github.com/rehome-iot/rehome/internal/weakcert"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

func TestAServiceWhoseChainHasAShortKeyIsToldNothing(t *testing.T) {
	uses := map[string]func(*clientWorld) error{
		"register": func(w *clientWorld) error {
			_, err := w.client.Register(w.Context(), dps.Registration{})
			return err
		},
		"lookup": func(w *clientWorld) error {
			_, err := w.client.Lookup(w.Context())
			return err
		},
		"time": func(w *clientWorld) error {
			_, err := w.client.Time(w.Context())
			return err
		},
	}
	for name, bits := range weakcert.Weak {
		for use, call := range uses {
			clientEach(t, dpstest.Config{}, func(w *clientWorld) {
				certificate, pool := weakcert.Chain(bits, dpstest.GlobalEndpoint)
				w.client.TLSConfig.RootCAs = pool
				heard := 0
				w.client.DialContext = func(
					_ context.Context, _, address string,
				) (net.Conn, error) {
					client, server := memnet.Pipe("device:1", address)
					go func() {
						defer server.Close()
						tc := tls.Server(server, &tls.Config{
							Certificates: []tls.Certificate{certificate},
						})
						if tc.Handshake() == nil {
							n, _ := tc.Read(make([]byte, 1024))
							heard += n
						}
					}()
					return client, nil
				}
				err := call(w)
				_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
				assert.True(w, untrusted, "%s: %s: %v", use, name, err)
				assert.ErrorContains(w, err, "RSA key of 1024 bits")
				assert.Equal(w, retry.Wait, retry.Classify(err))
				synctest.Wait()
				assert.Zero(w, heard, "%s: %s", use, name)
			})
		}
	}
}

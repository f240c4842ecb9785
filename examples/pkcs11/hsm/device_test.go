// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/examples/pkcs11/hsm"
	"github.com/rehome-iot/rehome/examples/pkcs11/softhsm"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

var errDone = errors.New("done")

func TestAConnectionGoesOnWhileTheTokenIsAwayAndTheCertificateIsRenewedOnceItIsBack(t *testing.T) {
	made := newToken(t)
	key := base64.StdEncoding.EncodeToString([]byte("canary-key-of-a-board-0123456789"))
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		defer func() { require.NoError(t, n.Close()) }()
		server := dpstest.New(n, dpstest.Config{})
		hub := hubtest.NewHub(n, "hub-a.azure-devices.net")
		server.Link(hub)
		require.NoError(t, server.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: "dev", Attestation: dpstest.Keys(key, ""), NamespaceName: "fleet",
			CertificateAuthorityName: "boards", CertificatePolicyName: "policy",
		}))
		token := &hsm.Token{Module: made.Module, Label: made.Label, PIN: pin(softhsm.PIN)}
		socket := plugged(token)
		defer func() { require.NoError(t, token.Close()) }()
		dev := &provisioning.Device{
			IDScope: server.IDScope(), Attestation: dps.SymmetricKey{ID: "dev", Key: key},
			Issuance: &provisioning.Issuance{Keys: hsm.Keys{Token: token, Device: "dev"}},
			Store:    &cache.Memory{}, DialContext: n.DialContext, TLSConfig: n.TLSConfig(),
			Logger: slog.New(slog.DiscardHandler),
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		sessions := 0
		err := dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
			sessions++
			before := dev.Status().Certificate
			send := func(body string) {
				assert.NoError(t, hub.Send(ctx, hubconn.Message{Body: []byte(body)}))
			}
			send("before")
			socket.pull(t)
			send("while it is away")
			err := dev.Renew(ctx)
			assert.ErrorIs(t, err, hsm.ErrNoToken)
			assert.NotContains(t, err.Error(), "\n")
			assert.Equal(t, before.ValidUntil, dev.Status().Certificate.ValidUntil)
			time.Sleep(time.Hour)
			socket.empty.Store(false)
			assert.NoError(t, dev.Renew(ctx))
			send("after")
			assert.True(t, dev.Status().Certificate.ValidUntil.After(before.ValidUntil))
			cancel(errDone)
			return nil
		})
		require.ErrorIs(t, err, errDone)
		assert.Equal(t, 1, sessions)
		assert.Equal(t, provisioning.CredentialIssued, dev.Status().Credential)
		assert.Len(t, hub.Messages(), 3)
		assert.Equal(t, []string{"rehome dev"}, labels(t, token))
	})
}

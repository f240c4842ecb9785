// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

// clientBroken is an attestation whose secure element fails, wholly or in part.
type clientBroken struct {
	dps.Attestation
	validate, token, certificate error
}

func (b clientBroken) Validate() error { return b.validate }

func (b clientBroken) Token(
	ctx context.Context, resource string, expiry time.Time,
) (string, error) {
	if b.token != nil {
		return "", b.token
	}
	return b.Attestation.Token(ctx, resource, expiry)
}

func (b clientBroken) Certificate(context.Context) (*tls.Certificate, error) {
	return nil, b.certificate
}

func TestAttestationThatFailsIsToldAsItIs(t *testing.T) {
	errElement := errors.New("the secure element does not answer")
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		whole := w.client.Attestation
		ask := func(broken clientBroken) []error {
			broken.Attestation = whole
			w.client.Attestation = broken
			_, registered := w.client.Register(w.Context(), dps.Registration{})
			_, looked := w.client.Lookup(w.Context())
			return []error{registered, looked}
		}
		for _, broken := range []clientBroken{{token: errElement}, {certificate: errElement}} {
			for _, err := range ask(broken) {
				require.ErrorIs(w, err, errElement)
				assert.Equal(w, retry.Wait, retry.Classify(err), "it may recover")
			}
		}
		for _, err := range ask(clientBroken{validate: errElement}) {
			require.ErrorIs(w, err, errElement)
			assert.Equal(w, retry.Stop, retry.Classify(err))
			failure, ok := errors.AsType[*dps.Error](err)
			require.True(w, ok)
			assert.Equal(w, "validate", failure.Op)
		}
		assert.Empty(w, w.requests())
	})
}

func TestAttestationWithoutACertificateFails(t *testing.T) {
	empty := dps.X509{}
	assert.Empty(t, empty.RegistrationID())
	_, err := empty.Certificate(t.Context())
	require.ErrorContains(t, err, "no certificate")
	_, err = empty.Fingerprint(t.Context())
	require.ErrorContains(t, err, "no certificate")
	_, err = empty.Seal(t.Context(), nil)
	require.ErrorContains(t, err, "no private key")
	require.ErrorContains(t, empty.Verify(t.Context(), nil, nil), "no certificate")
}

func TestAttestationPrintsTheSameInGoSyntaxAndInLogs(t *testing.T) {
	for _, attestation := range []interface {
		fmt.Stringer
		fmt.GoStringer
		slog.LogValuer
	}{dps.SymmetricKey{ID: "a", Key: clientCanary}, dps.X509{ID: "a"}} {
		assert.Equal(t, attestation.String(), attestation.GoString())
		assert.Equal(t, attestation.String(), attestation.LogValue().String())
		assert.Contains(t, attestation.String(), "redacted")
	}
}

// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatAHubTrustsSurvivesARestart(t *testing.T) {
	inRenewal(t, func(t *testing.T, w *renewing) {
		known := w.issued()
		for _, synced := range []bool{true, false} {
			w.h.SetCredentialSync(synced)
			if !synced { // two authorities, one of which the hub has not heard of
				require.NoError(t, w.issuer.SetPolicy(otherPolicy))
			}
			var state bytes.Buffer
			require.NoError(t, w.h.Save(&state))

			w.h = NewHub(w.h.network, hubHost)
			w.h.SetCredentialSync(false)
			w.h.SetIssuer(w.issuer)
			require.NoError(t, w.h.Load(&state))
			require.Zero(t, w.client(known).connect("mqtt"), "synced before: %v", synced)
		}
		d, _ := w.h.Get("dev1")
		d.CertificatePolicy = otherPolicy.ID()
		require.NoError(t, w.h.Put(d))
		unknown := w.issued()
		require.Equal(t, byte(5), w.client(unknown).connect("mqtt"))
		w.h.SetIssuer(w.issuer)
		require.Equal(t, byte(5), w.client(unknown).connect("mqtt"), "linked again, not synced")
		w.h.SyncCredentials()
		require.Zero(t, w.client(unknown).connect("mqtt"))

		broken := `{"version":1,"host":"` + hubHost + `","trusted":["AAAA"]}`
		assert.ErrorContains(t, w.h.Load(bytes.NewBufferString(broken)), "trusted")
		require.Zero(t, w.client(unknown).connect("mqtt"), "the hub is as it was")
	})
}

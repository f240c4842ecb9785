// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Who has mistyped one of these corrects it and starts again: the wait that DPS's refusal calls for
// is that of the mistyped one, and nobody waits for it.
func TestACorrectedKeyIDOrScopeAsksAtOnceAfterARefusal(t *testing.T) {
	otherKey := base64.StdEncoding.EncodeToString([]byte("canary-key-of-another-device-4321"))
	for name, mistype := range map[string]func(dev *provisioning.Device){
		"key": func(dev *provisioning.Device) {
			dev.Attestation = dps.SymmetricKey{ID: rigID, Key: otherKey}
		},
		"registration ID": func(dev *provisioning.Device) {
			dev.Attestation = dps.SymmetricKey{ID: "sensor-043", Key: rigKey}
		},
		"ID scope": func(dev *provisioning.Device) { dev.IDScope = "0ne00FFFFFF" },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				dev := r.device()
				mistype(dev)
				stop := r.run(dev)
				time.Sleep(10 * time.Second)
				require.Equal(t, provisioning.StateWaiting, dev.Status().State)
				stop()
				refused := r.dps.Count(dpstest.Register)

				stop = r.run(r.device())
				defer stop()
				r.await(0, 10*time.Second)
				require.Equal(t, refused+1, r.dps.Count(dpstest.Register))
			})
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestADeviceResumesTheSessionThatItBeganWithTheHub(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		dev := r.device()
		resumed := 0
		dev.Hub.TLSConfig = dev.TLSConfig.Clone()
		dev.Hub.TLSConfig.VerifyConnection = func(state tls.ConnectionState) error {
			if state.DidResume {
				resumed++
			}
			return nil
		}
		stop := r.run(dev)
		r.await(0, time.Minute)
		assert.Zero(t, resumed)
		for n := range 3 {
			r.a.Disconnect(rigID)
			r.await(n+1, 10*time.Minute)
			assert.Equal(t, n+1, resumed)
		}
		stop()
		for _, a := range r.a.Attempts() {
			assert.True(t, a.Accepted(), "%+v", a)
		}
		assert.Nil(t, dev.Hub.TLSConfig.ClientSessionCache, "the configuration is the program's")
	})
}

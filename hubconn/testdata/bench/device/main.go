// SPDX-License-Identifier: Apache-2.0

// Device connects with a provisioning.Device that remembers where it belongs, and stays connected.
package main

import (
	"context"
	"os"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn/testdata/bench/target"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

func main() {
	device := &provisioning.Device{
		IDScope:     target.IDScope,
		Attestation: dps.SymmetricKey{ID: target.DeviceID, Key: target.Key},
		Store:       cache.Dir(os.Getenv(target.Store)),
		DialContext: target.Dial,
		TLSConfig:   target.TLSConfig(),
	}
	_, err := device.Connect(context.Background())
	target.Check(err)
	target.Connected()
}

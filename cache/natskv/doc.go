// SPDX-License-Identifier: Apache-2.0

// Package natskv keeps what devices remember in a key-value bucket of NATS JetStream, so that a
// device that moves to another replica of a program is known there. It is a module of its own, for
// what it depends on.
//
//	nc, err := nats.Connect("nats://nats-0,nats://nats-1", natskv.ConnOptions()...)
//	if err != nil {
//		return err
//	}
//	dev := &provisioning.Device{
//		IDScope:     "0ne00ABCDEF",
//		Attestation: dps.SymmetricKey{ID: "sensor-042", Key: key},
//		Store:       &natskv.Store{Conn: nc, Replicas: 3},
//	}
//
// Of this module too are package embedded, by which the NATS server runs in the process itself,
// without a port where there is one machine, and package natslease, by which several replicas share
// out their devices.
//
// Until the library has a release, a go.mod that uses this module names both by replace:
//
//	replace (
//		github.com/rehome-iot/rehome => ../rehome
//		github.com/rehome-iot/rehome/cache/natskv => ../rehome/cache/natskv
//	)
//
// # What it keeps, and how surely
//
// An acknowledged entry is with a majority of the bucket's replicas. A server writes it to its file
// at once, so that it outlives a killed process; when it reaches the medium is a setting of the
// server, sync_interval, two minutes by default. A device that loses its entry asks DPS once.
//
// While NATS cannot be reached, or three servers choose one that answers in place of one that died,
// a read waits: see Store.Patience, by which a Device knows, and Store.Away. After that it fails;
// the Device asks DPS where it belongs, goes on without the store, and stores later.
//
// Whoever may read the bucket may read the entries, and whoever may write it may replace them by
// older ones of the same device; entries are sealed by the device's own key against all else. Give
// the program an account of its own.
package natskv

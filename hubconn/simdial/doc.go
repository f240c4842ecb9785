// SPDX-License-Identifier: Apache-2.0

// Package simdial has a program use a simulator of DPS and IoT Hub in place of Azure's, and needs
// no change to go back: where the environment variable REHOME_SIMULATOR is not set, it does
// nothing.
//
//	sim, err := simdial.FromEnv()
//	if err != nil {
//		log.Fatal(err)
//	}
//	dev := &provisioning.Device{
//		IDScope:     os.Getenv("ID_SCOPE"),
//		Attestation: dps.SymmetricKey{ID: "sensor-042", Key: os.Getenv("DEVICE_KEY")},
//		Logger:      slog.Default(),
//		DialContext: sim.DialContext,
//		TLSConfig:   sim.TLSConfig,
//	}
//
// The simulator, examples/simulator, prints what to export when it starts. A variable that is set
// leads every connection to port 443 or 8883 to the simulator, whatever its host, and has the
// program trust the simulator's authority and no other. Names, certificates and protocols stay
// those of the service.
//
// The package imports the standard library alone: no simulator is linked into the program. Tests in
// Go have a network of their own, and need nothing of this: see package simnet.
package simdial

// SPDX-License-Identifier: Apache-2.0

// Package dps makes one exchange with the Azure Device Provisioning Service (DPS), and says who the
// device is.
//
//	client := &dps.Client{
//		IDScope:     "0ne00ABCDEF",
//		Attestation: dps.SymmetricKey{ID: "sensor-042", Key: os.Getenv("DEVICE_KEY")},
//	}
//	assignment, err := client.Register(ctx, dps.Registration{})
//	if err != nil {
//		return err // a *dps.Error: retry.Classify and retry.After tell what it calls for
//	}
//	fmt.Println(assignment.Hub, assignment.DeviceID)
//
// A [Client] registers, looks a registration up and asks for the time, over HTTPS, MQTT or MQTT
// over WebSocket. It makes one attempt at what it is asked and never retries; the Device of package
// provisioning, one level up, owns the loop, remembers the [Assignment] and decides when DPS is
// asked. Use this package alone for programs with a loop of their own.
//
// [SymmetricKey], [X509] and [X509Files] say who the device is; [Attestation] is the interface
// behind them, for a key that lives in a secure element. Some attestations can do more: a [Source]
// changes its credential while the device runs, a [Protector] encrypts what the device keeps, and
// one that is [Endorsed] is a TPM 2.0, which the service challenges. [DeriveDeviceKey] makes a
// device's key from that of an enrollment group.
//
// A device may get an operational certificate for its hub when it registers, with a key that it
// makes itself:
//
//	csr, err := dps.NewCSR(key, "sensor-042")
//	…
//	assignment, err := client.Register(ctx, dps.Registration{CSR: csr})
//	…
//	if assignment.IssuedChain != nil { // the enrollment has a certificate policy
//		pair, err := assignment.IssuedChain.KeyPair(key, "sensor-042", time.Now())
//		…
//	}
//
// Every failure is an [*Error] of one line, which never shows a key or a token.
//
// Sources: Azure REST API "Runtime Registration"; Azure docs "Communicate with DPS using the MQTT
// protocol", "How to use symmetric key attestation over HTTPS", "TPM attestation", "Certificate
// issuance" and "DPS terminology".
package dps

// SPDX-License-Identifier: Apache-2.0

// Package tpm lets a device attest with a TPM 2.0, and keep its private keys in one. It is a module
// of its own, for what it depends on; it needs no cgo.
//
//	device := &tpm.TPM{} // /dev/tpmrm0
//	store := cache.Dir("/var/lib/sensor")
//	dev := &provisioning.Device{
//		IDScope:     "0ne00ABCDEF",
//		Attestation: &tpm.Attestation{TPM: device, Store: store},
//		Store: &tpm.CountedStore{ // or store
//			Store: store, TPM: device, Index: 0x01800001,
//		},
//		Logger: slog.Default(),
//	}
//	err := dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
//		return hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
//	})
//
// An operator enrolls the endorsement key, which [Attestation.PublicKeys] returns and the program
// tpmdevice of this module prints, under the registration ID. DPS takes this attestation over HTTPS
// alone.
//
// [Keys] makes keys for certificates, such as for a signing request or for [dps.X509]:
//
//	key, reference, err := tpm.Keys{TPM: device}.Generate(ctx) // store the reference
//	csr, err := dps.NewCSR(key, "sensor-042")
//
// # What is where
//
// No key is ever outside of the TPM in the clear. Keys that DPS gives, and those of [Keys], are
// stored encrypted under the TPM's storage root key; a copy of the store is of no use to another
// TPM. Seals are made by a key that the TPM derives of its own seed. In the TPM itself nothing is
// stored unless it is asked for: persistent handles, and the counter of a [CountedStore].
//
// Endorsement key and storage root key are those at the handles 0x81010001 and 0x81000001, if they
// are RSA keys of the TCG's default templates; otherwise they are made, by the same templates, for
// the time of their use. Objects of others are neither evicted nor replaced. Where the official C
// or Node client shares the TPM, let it run once before the device is enrolled: of a TPM without
// persistent keys it makes other ones, and keeps them at these handles. Or make the TCG's
// persistent before either runs, with tpm2_createek -c 0x81010001, and both use those.
//
// Whoever may clear the TPM ends what it keeps: keys that DPS gave are gone and seals do not match;
// the endorsement key stays, so the device registers anew by itself. Whoever may use the TPM as the
// device's user can sign as the device, as long as they can, and not take the key away. Keys are
// taken in and used in the clear on the bus between processor and TPM, as they are by the official
// clients: the TPM does not protect against whoever listens there.
//
// # Time
//
// Of a TPM without persistent keys the first use makes two RSA keys, which takes some of them
// half a minute; later uses in the same process take some 100 ms.
package tpm

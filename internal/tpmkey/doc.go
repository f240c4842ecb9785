// SPDX-License-Identifier: Apache-2.0

// Package tpmkey wraps a key so that one trusted platform module alone can unwrap it, as the device
// provisioning service does for the attestation by TPM: an HMAC key that is bound to the storage
// root key, under an inner wrapper whose key is a credential for the endorsement key.
//
// It is the service's side, for the simulator. The TPM's is TPM2_ActivateCredential, TPM2_Import
// and TPM2_Load. Sources: Trusted Platform Module Library, Family 2.0, Part 1 "Architecture",
// sections 23 (Protected Storage, Duplication) and 24 (Credential Protection), and Part 2
// "Structures"; Azure IoT SDK for C#, SecurityProviderTpmHsm.ActivateIdentityKey, for the order.
package tpmkey

// SPDX-License-Identifier: Apache-2.0

// Package hsm keeps a device's private keys in a PKCS #11 token: an HSM, a secure element, a smart
// card, or SoftHSM (PKCS #11 Cryptographic Token Interface Base Specification, version 2.40,
// OASIS). [Keys] is a [provisioning.KeyStore]; [Token.Find] has the key of a certificate that the
// device was made with. Keys are ECDSA, made in the token, and cannot be taken out of it.
//
//	token := &hsm.Token{
//		Module: "/usr/lib/softhsm/libsofthsm2.so", Label: "board",
//		PIN: hsm.PINFile("/etc/board.pin"),
//	}
//	keys := hsm.Keys{Token: token, Device: "board-1"}
//	dev.Issuance = &provisioning.Issuance{Keys: keys}
//
// # Sessions
//
// A token allows some sessions, often few. They are opened as they are needed, up to
// Token.Sessions, kept open, and each is used by one operation at a time; others wait. What the
// module answers is waited for until the caller's ctx ends; the module cannot be told to stop, so
// its session stays busy until it does.
//
// # Tokens that come and go
//
// Nothing is opened before it is needed, and keys are looked up at each use. A token that was
// pulled out, or that was reset, or that has logged the program out, is looked for anew at the next
// use, and works if it is back. While it is away no operation succeeds: a live connection goes on
// without it, and the next one needs it.
//
// # PINs
//
// A PIN that was refused is not tried again before it changes, and none is tried where the token
// says that one try is left: a device that tries for ever would lock its token.
//
// # Keys that nobody uses
//
// A key is made before its reference is stored, so a process that is killed in between leaves one
// that nobody knows of. Such a key has not signed anything, and its label says so: it begins with
// "rehome-new" until the first signature. No certificate can exist for a key that has not signed a
// request, so the next Generate for the same device removes those that it finds. Where the token
// refuses to change a label, the key stays. So does an old key if the process is killed after the
// certificate that took its place was stored, and before the key was removed: [Token.List] shows
// what there is.
package hsm

// SPDX-License-Identifier: Apache-2.0

// Package keyring is what a device keeps of the certificates that were issued to it: bytes to value
// and back, and which pairs of key and chain stay. It knows neither store nor network.
//
// A certificate is asked for with a key that is kept first, as pending: the process may die between
// request and response, and a chain for a key that nobody has is worth nothing. What is issued is
// added in front of what there was, and that stays until a hub has accepted the new one. So at
// every moment the ring holds a pair that a hub has accepted, if there ever was one.
package keyring

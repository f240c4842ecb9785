// SPDX-License-Identifier: Apache-2.0

package jitter

import (
	"crypto/rand"
	"crypto/sha256"
	mathrand "math/rand/v2"
)

// Entropy is what the system gives a process once, at its start.
type Entropy [sha256.Size]byte

// New returns the random numbers of one process of a device, or of a module, by its name. Decisions
// alone draw of them, in order, so that whoever knows the entropy knows what is decided: the
// back-off of single operations and the renewal of tokens have numbers of their own.
func New(name string) *mathrand.Rand { return From(Read(), name) }

// Read asks the system for entropy.
func Read() (e Entropy) {
	_, _ = rand.Read(e[:]) // never fails
	return e
}

// From mixes entropy with the name: boards that boot from one image with an empty entropy pool must
// not draw the same delays.
func From(e Entropy, name string) *mathrand.Rand {
	return mathrand.New(mathrand.NewChaCha8(sha256.Sum256(append(e[:], name...))))
}

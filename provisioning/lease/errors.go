// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"errors"
	"fmt"
)

var (
	// ErrUnconfirmed says that it is not known whether the lease is held: the service of leases
	// could not be asked for as long as the lease lasts. It may be wrapped: compare with errors.Is.
	ErrUnconfirmed = errors.New("the lease is not confirmed: the service of leases is away")

	// ErrReleased is the cause of the Context of a lease that was released.
	ErrReleased = errors.New("the lease was released")
)

// A HeldError says who has the lease of an identity.
type HeldError struct {
	// Identity is the one that was asked for.
	Identity string
	// Holder is the name of the replica that has its lease.
	Holder string
	// Fence is that of the holder's lease, 0 if it is not known.
	Fence uint64
}

// Error returns one line.
func (e *HeldError) Error() string {
	return fmt.Sprintf("the lease of %q is held by replica %q", e.Identity, e.Holder)
}

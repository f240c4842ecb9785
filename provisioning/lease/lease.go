// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"iter"
)

// Leases is a service of leases as one replica sees it. Every method is safe for concurrent use.
type Leases interface {
	// Name is this replica's own name among the members: not empty, and no other's.
	Name() string

	// Acquire takes the lease of identity, without waiting for it to be free. Where another has
	// it, or this replica itself, the error is a *HeldError; where it cannot be told who has it,
	// such as while the service is away, it is ErrUnconfirmed. An identity is an arbitrary string,
	// told apart byte for byte.
	//
	// The lease lasts until it is released or lost. ctx bounds the call alone.
	Acquire(ctx context.Context, identity string) (Lease, error)

	// Watch yields the replicas as they are, at once, and then what changes, until ctx ends or
	// the service is closed. Changes that come while the loop's body runs are told together after
	// it. An error says that it cannot be told at present who lives; the loop goes on, and the
	// next Change without one says that it can again.
	Watch(ctx context.Context) iter.Seq2[Change, error]
}

// A Change is what happened since the last one.
type Change struct {
	// Members are the replicas that live, this one among them, sorted.
	Members []string
	// Freed are identities whose lease another replica has released, or this one, so that it may
	// be acquired. Those whose holder has died are not among them: Members says so.
	Freed []string
}

// A Lease is the right of this replica to run an identity. Every method is safe for concurrent use.
type Lease interface {
	// Identity is what was acquired.
	Identity() string

	// Fence is greater than that of any lease that another replica has had of this identity
	// before. It grows where the same replica has to take the lease anew.
	Fence() uint64

	// Context ends when it is known that another replica has the lease, with a *HeldError as its
	// cause, when the lease is released, with ErrReleased, and when the service is closed. It does
	// not end because the service is away.
	Context() context.Context

	// Held returns nil if the lease may be used for a new connection now: it has been confirmed
	// within its duration, and no other replica can have it yet. Otherwise it says why not:
	// ErrUnconfirmed, or the cause of Context. It asks nobody, and takes no time.
	Held() error

	// Release gives the lease up, so that another replica may acquire it at once. An error says
	// that the service could not be told; Context has ended all the same, and the service is told
	// when it can be. Of a lease that is lost or released already it is nil.
	Release(ctx context.Context) error
}

// SPDX-License-Identifier: Apache-2.0

package fleet

import "context"

// Leases is what tests lease identities by.
type Leases struct {
	Acquire func(ctx context.Context, id string) (Lease, error)
}

// Lease is one of theirs.
type Lease struct {
	Held    func() <-chan struct{}
	Lost    context.Context
	Release func()
}

// SetLeases has a Fleet run what it has leased.
func (f *Fleet) SetLeases(l Leases) { f.leases = testLeases{l} }

type testLeases struct{ Leases }

func (l testLeases) acquire(ctx context.Context, id string) (tenancy, error) {
	got, err := l.Leases.Acquire(ctx, id)
	return testLease{got}, err
}

type testLease struct{ Lease }

func (l testLease) held() <-chan struct{} { return l.Lease.Held() }
func (l testLease) lost() context.Context { return l.Lease.Lost }
func (l testLease) release()              { l.Lease.Release() }

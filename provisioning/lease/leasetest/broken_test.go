// SPDX-License-Identifier: Apache-2.0

package leasetest_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/provisioning/lease"
	"github.com/rehome-iot/rehome/provisioning/lease/leasetest"
)

// Replicas that break a promise each, and the subtest that has to notice.
var broken = map[string]struct {
	replica func(*leasetest.Replica) lease.Leases
	noticed string
}{
	"another name":        {func(r *leasetest.Replica) lease.Leases { return renamed{r} }, "a replica is one of the members it sees"},
	"refused by nobody":   {func(r *leasetest.Replica) lease.Leases { return anonymous{r} }, "another replica's lease is refused, with its name"},
	"folds case":          {func(r *leasetest.Replica) lease.Leases { return folding{r} }, "identities are told apart byte for byte"},
	"ends with ctx":       {func(r *leasetest.Replica) lease.Leases { return short{r} }, "a lease outlasts the context it was acquired with"},
	"ignores the context": {func(r *leasetest.Replica) lease.Leases { return heedless{r} }, "a context that has ended acquires nothing"},
	"keeps fences": {func(r *leasetest.Replica) lease.Leases {
		return changed{r, func(l lease.Lease) lease.Lease { return oneFence{l} }}
	}, "a fence is greater than all before"},
	"held for ever": {func(r *leasetest.Replica) lease.Leases {
		return changed{r, func(l lease.Lease) lease.Lease { return heldForEver{l} }}
	}, "a lease acquired is held until released"},
	"never releases": {func(r *leasetest.Replica) lease.Leases {
		return changed{r, func(l lease.Lease) lease.Lease { return kept{l} }}
	}, "a lease acquired is held until released"},
}

const chosen = "LEASETEST_BROKEN"

func TestSuiteNoticesEachBrokenPromise(t *testing.T) {
	if name := os.Getenv(chosen); name != "" {
		leasetest.Run(t, func(*testing.T) leasetest.Join {
			group := new(leasetest.Group)
			return func(replica string) lease.Leases {
				return broken[name].replica(group.Join(replica))
			}
		})
		return
	}
	for name, b := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			subtest := strings.ReplaceAll(b.noticed, " ", "_")
			command := exec.Command(
				os.Args[0], "-test.run=^TestSuiteNoticesEachBrokenPromise$/^"+subtest+"$",
				"-test.timeout=3m",
			)
			command.Env = append(os.Environ(), chosen+"="+name)
			out, err := command.CombinedOutput()
			assert.Error(t, err, "the suite passes")
			assert.Contains(
				t, string(out), "--- FAIL: TestSuiteNoticesEachBrokenPromise/"+subtest,
			)
		})
	}
}

type renamed struct{ *leasetest.Replica }

func (renamed) Name() string { return "" }

func (r renamed) Watch(ctx context.Context) iter.Seq2[lease.Change, error] {
	return func(yield func(lease.Change, error) bool) {
		for c, err := range r.Replica.Watch(ctx) {
			c.Members = []string{""}
			if !yield(c, err) {
				return
			}
		}
	}
}

type anonymous struct{ *leasetest.Replica }

func (r anonymous) Acquire(ctx context.Context, identity string) (lease.Lease, error) {
	l, err := r.Replica.Acquire(ctx, identity)
	if held, ok := errors.AsType[*lease.HeldError](err); ok {
		return nil, &lease.HeldError{Identity: held.Identity}
	}
	return l, err
}

type folding struct{ *leasetest.Replica }

func (r folding) Acquire(ctx context.Context, identity string) (lease.Lease, error) {
	return r.Replica.Acquire(ctx, strings.ToLower(identity))
}

type short struct{ *leasetest.Replica }

func (r short) Acquire(ctx context.Context, identity string) (lease.Lease, error) {
	l, err := r.Replica.Acquire(ctx, identity)
	if err != nil {
		return nil, err
	}
	return ending{l, ctx}, nil
}

type ending struct {
	lease.Lease
	ctx context.Context
}

func (e ending) Context() context.Context { return e.ctx }

type heedless struct{ *leasetest.Replica }

func (r heedless) Acquire(ctx context.Context, identity string) (lease.Lease, error) {
	return r.Replica.Acquire(context.WithoutCancel(ctx), identity)
}

type changed struct {
	*leasetest.Replica
	change func(lease.Lease) lease.Lease
}

func (r changed) Acquire(ctx context.Context, identity string) (lease.Lease, error) {
	l, err := r.Replica.Acquire(ctx, identity)
	if err != nil {
		return nil, err
	}
	return r.change(l), nil
}

type oneFence struct{ lease.Lease }

func (oneFence) Fence() uint64 { return 1 }

type heldForEver struct{ lease.Lease }

func (heldForEver) Held() error { return nil }

type kept struct{ lease.Lease }

func (kept) Release(context.Context) error { return nil }

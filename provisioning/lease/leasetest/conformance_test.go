// SPDX-License-Identifier: Apache-2.0

package leasetest_test

import (
	"context"
	"testing"

	"github.com/rehome-iot/rehome/provisioning/lease"
	"github.com/rehome-iot/rehome/provisioning/lease/leasetest"
)

func TestLocalConforms(t *testing.T) {
	leasetest.Run(t, func(t *testing.T) leasetest.Join {
		joined := false
		return func(name string) lease.Leases {
			if joined {
				return nil
			}
			joined = true
			return &lease.Local{Replica: name}
		}
	})
}

func TestGroupConforms(t *testing.T) {
	leasetest.Run(t, func(t *testing.T) leasetest.Join {
		group := new(leasetest.Group)
		return func(name string) lease.Leases {
			r := group.Join(name)
			t.Cleanup(func() { _ = r.Close(context.Background()) })
			return r
		}
	})
}

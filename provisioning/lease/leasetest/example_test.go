// SPDX-License-Identifier: Apache-2.0

package leasetest_test

import (
	"testing"

	"github.com/rehome-iot/rehome/provisioning/lease"
	"github.com/rehome-iot/rehome/provisioning/lease/leasetest"
)

func ExampleRun() {
	// In a file that ends in _test.go:
	_ = func(t *testing.T) {
		leasetest.Run(t, func(t *testing.T) leasetest.Join {
			group := new(leasetest.Group)
			return func(name string) lease.Leases { return group.Join(name) }
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync/atomic"
	"time"
)

// orders are what the back end asks of the program as a whole. They outlive the connection that
// they came by.
type orders struct {
	reprovision chan string        // why
	reboot      chan time.Duration // after which delay
	rebooting   atomic.Bool
}

func newOrders() *orders {
	return &orders{reprovision: make(chan string, 1), reboot: make(chan time.Duration, 1)}
}

// askReprovision does not wait: orders that come while one is under way count as one more.
func (o *orders) askReprovision(cause string) {
	select {
	case o.reprovision <- cause:
	default:
	}
}

// askReboot reports whether the order is the first: the program has one reboot before it.
func (o *orders) askReboot(delay time.Duration) bool {
	if !o.rebooting.CompareAndSwap(false, true) {
		return false
	}
	o.reboot <- delay // there is room for one, and there is but one
	return true
}

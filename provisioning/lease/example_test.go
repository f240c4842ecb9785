// SPDX-License-Identifier: Apache-2.0

package lease_test

import (
	"context"
	"fmt"

	"github.com/rehome-iot/rehome/provisioning/lease"
)

func ExampleKeeper() {
	ctx, cancel := context.WithCancel(context.Background())
	keeper := &lease.Keeper{
		Leases: new(lease.Local),
		Start: func(held lease.Lease) error {
			dial := lease.Guard(held, nil) // for provisioning.Device.DialContext
			fmt.Println("start", held.Identity(), dial != nil)
			cancel() // this example ends here
			return nil
		},
		Stop: func(_ context.Context, identity string, cause error) {
			fmt.Println("stop", identity, cause)
		},
	}
	keeper.Add("sensor-042")
	fmt.Println(keeper.Run(ctx))
	// Output:
	// start sensor-042 true
	// stop sensor-042 context canceled
	// context canceled
}

func ExamplePlace() {
	members := []string{"gateway-0", "gateway-1", "gateway-2"}
	fmt.Println(lease.Place("sensor-042", members))
	// Output: gateway-2
}

// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/fleet"
)

// A gateway runs three identities until all have said something, and stops.
func ExampleFleet() {
	s := devicetest.New() // stands for Azure
	defer s.Close()
	ctx, stop := context.WithCancel(context.Background())
	var said sync.WaitGroup
	said.Add(3)
	f := &fleet.Fleet{
		// In place of Enroll: &provisioning.Device{IDScope: …, Attestation: …, Store: …}
		Device: func(id string) (*provisioning.Device, error) { return s.Enroll(id), nil },
		Session: func(ctx context.Context, id string, hub *hubconn.Conn) error {
			if err := hub.Send(ctx, hubconn.Message{Body: []byte("from " + id)}); err != nil {
				return err // it is run again after a while
			}
			said.Done()
			<-ctx.Done()
			return nil
		},
	}
	if err := f.Add("hall", "kitchen", "cellar"); err != nil {
		fmt.Println(err)
	}
	go func() {
		said.Wait()
		fmt.Println(f.Count())
		stop()
	}()
	fmt.Println(f.Run(ctx))
	var bodies []string
	for _, m := range s.Hub.Messages() {
		bodies = append(bodies, string(m.Body))
	}
	slices.Sort(bodies)
	fmt.Println(bodies)
	// Output:
	// map[connected:3]
	// context canceled
	// [from cellar from hall from kitchen]
}

// Devices that a program runs itself share a Budget, too. Load says what they wait for.
func ExampleBudget() {
	s := devicetest.New()
	defer s.Close()
	budget := &fleet.Budget{HubPerSecond: 20} // this process's part of what the hub allows
	var devices sync.WaitGroup
	for _, id := range []string{"hall", "kitchen", "cellar"} {
		dev := s.Enroll(id)
		dev.Budget = budget
		devices.Go(func() {
			_ = dev.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
				return hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
			})
		})
	}
	devices.Wait()
	waiting := map[string]int{}
	for _, load := range budget.Load() {
		waiting[load.Host] = load.Waiting
	}
	for _, host := range slices.Sorted(maps.Keys(waiting)) {
		fmt.Println(host, waiting[host], "waiting")
	}
	// Output:
	// global.azure-devices-provisioning.net 0 waiting
	// hub-a.azure-devices.net 0 waiting
}

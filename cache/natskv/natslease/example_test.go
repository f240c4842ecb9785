// SPDX-License-Identifier: Apache-2.0

package natslease_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/rehome-iot/rehome/cache/natskv/embedded"
	"github.com/rehome-iot/rehome/cache/natskv/natslease"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

func ExampleJoin() {
	dir, err := os.MkdirTemp("", "nats") // such as /var/lib/gateway/nats
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(context.Background())
	server, err := embedded.Start(ctx, embedded.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	nc, err := server.Connect()
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()

	replica, err := natslease.Join(ctx, natslease.Config{Conn: nc, Name: "gateway", Sole: true})
	if err != nil {
		log.Fatal(err)
	}
	defer replica.Close(context.Background())
	keeper := &lease.Keeper{
		Leases: replica,
		Start: func(held lease.Lease) error {
			fmt.Println("start", held.Identity())
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
	// start sensor-042
	// stop sensor-042 context canceled
	// context canceled
}

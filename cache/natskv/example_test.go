// SPDX-License-Identifier: Apache-2.0

package natskv_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/rehome-iot/rehome/cache/natskv"
	"github.com/rehome-iot/rehome/cache/natskv/embedded"
)

func ExampleStore() {
	dir, err := os.MkdirTemp("", "nats") // such as /var/lib/gateway/nats
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
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

	store := &natskv.Store{Conn: nc} // of all devices
	if err := store.Put(ctx, "sensor-042", []byte("entry")); err != nil {
		log.Fatal(err)
	}
	data, err := store.Get(ctx, "sensor-042")
	fmt.Println(string(data), err)
	// Output: entry <nil>
}

// SPDX-License-Identifier: Apache-2.0

package outbox_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/outbox"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
)

// A sensor measures while it has no connection, is switched off, and delivers when it is back: the
// alarm first, then the telemetry in its order.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "outbox.db")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	// Without a connection.
	file, err := outbox.Open(path, outbox.Options{Interval: 10 * time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	box, err := file.Outbox(devicetest.DeviceID)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, body := range []string{`{"temperature":21.5}`, `{"temperature":48.0}`} {
		if err := box.Send(ctx, hubconn.Message{Body: []byte(body)}); err != nil {
			fmt.Println(err)
		}
	}
	err = box.SendAlarm(ctx, hubconn.Message{Body: []byte(`{"alarm":"overheated"}`)})
	if err != nil {
		fmt.Println(err)
	}
	file.Close()

	// The next process, with a connection.
	sim := devicetest.New()
	defer sim.Close()
	if file, err = outbox.Open(path, outbox.Options{}); err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	if box, err = file.Outbox(devicetest.DeviceID); err != nil {
		fmt.Println(err)
		return
	}
	running, stop := context.WithCancel(ctx)
	go func() {
		for box.Stats().Kept > 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		stop()
	}()
	_ = sim.Device.Run(running, box.Deliver)
	for _, m := range sim.Hub.Messages() {
		fmt.Printf("%s\n", m.Body)
	}
	// Output:
	// {"alarm":"overheated"}
	// {"temperature":21.5}
	// {"temperature":48.0}
}

// SPDX-License-Identifier: Apache-2.0

package hubtest_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// start makes a network with one hub, and connects one device to it. The function it returns ends
// it all.
func start() (hub *hubtest.Hub, conn *hubconn.Conn, end func()) {
	network := simnet.New()
	hub = hubtest.NewHub(network, "hub-a.azure-devices.net")
	secret := key("0123456789abcdef")
	if err := hub.Put(hubtest.Device{
		ID: "sensor-042", PrimaryKey: base64.StdEncoding.EncodeToString(secret),
	}); err != nil {
		log.Fatal(err)
	}
	dialer := &hubconn.Dialer{DialContext: network.DialContext, TLSConfig: network.TLSConfig()}
	conn, err := dialer.Dial(
		context.Background(), hubconn.Hub{Host: hub.Host(), DeviceID: "sensor-042"}, secret,
	)
	if err != nil {
		log.Fatal(err)
	}
	return hub, conn, func() {
		_ = conn.Close()
		_ = network.Close()
	}
}

// The back end wants 21 degrees, and the device reports what it has.
func ExampleHub_PatchDesired() {
	hub, conn, end := start()
	defer end()
	version, err := hub.PatchDesired("sensor-042", map[string]any{"targetTemperature": 21})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("desired version", version)

	ctx := context.Background()
	twin, err := conn.Twin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("device reads %s\n", twin.Desired.JSON)
	if _, err := conn.Report(ctx, map[string]any{"temperature": 20.5}); err != nil {
		log.Fatal(err)
	}
	kept, _ := hub.Twin("sensor-042")
	fmt.Println("hub knows", kept.Reported, "version", kept.ReportedVersion)
	// Output:
	// desired version 2
	// device reads {"targetTemperature":21}
	// hub knows map[temperature:20.5] version 2
}

// A message waits in its queue until the device has finished with it.
func ExampleHub_SendC2D() {
	hub, conn, end := start()
	defer end()
	err := hub.SendC2D("sensor-042", hubtest.C2D{
		Body: []byte("blink"), Ack: "full", Properties: map[string]string{"color": "red"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("waiting:", len(hub.C2DQueue("sensor-042")))
	for m, err := range conn.Messages(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("device got %s %s\n", m.Body, m.Properties["color"])
		break
	}
	for len(hub.C2DQueue("sensor-042")) > 0 {
		time.Sleep(time.Millisecond) // its PUBACK is on the way
	}
	fmt.Println("feedback:", hub.Feedback()[0].Outcome)
	// Output:
	// waiting: 1
	// device got blink red
	// feedback: Success
}

// The back end calls a method, waiting for the device to listen if need be.
func ExampleHub_Invoke() {
	hub, conn, end := start()
	defer end()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() {
		served <- conn.HandleMethods(ctx, hubconn.Methods{
			Handlers: map[string]hubconn.MethodHandler{
				"reboot": func(_ context.Context, r hubconn.MethodRequest) (int, any, error) {
					return 202, json.RawMessage(`{"in":` + string(r.Payload) + `}`), nil
				},
			},
		})
	}()
	status, response, err := hub.Invoke(
		ctx, "sensor-042", "reboot", 5, hubtest.InvokeOptions{ConnectTimeout: 10 * time.Second},
	)
	fmt.Printf("%d %s %v\n", status, response, err)
	cancel()
	<-served
	_, _, err = hub.Invoke(
		context.Background(), "sensor-043", "reboot", nil, hubtest.InvokeOptions{},
	)
	fmt.Println(err)
	// Output:
	// 202 {"in":5} <nil>
	// hubtest: invoke a method of sensor-043: 404001 DeviceNotFound: not in the registry
}

// Files are uploaded to a storage of the hub's own.
func ExampleHub_Blob() {
	hub, conn, end := start()
	defer end()
	err := conn.Upload(
		context.Background(), "log.txt", strings.NewReader("all is well"), hubconn.UploadOptions{},
	)
	if err != nil {
		log.Fatal(err)
	}
	content, _ := hub.Blob("sensor-042/log.txt")
	fmt.Printf("%s (success: %v)\n", content, hub.Uploads()[0].Success)
	// Output: all is well (success: true)
}

// What is known of a device moves to another hub with it.
func ExampleHub_SetTwin() {
	network := simnet.New()
	defer network.Close()
	from, to := hubtest.NewHub(network, "hub-a.azure-devices.net"),
		hubtest.NewHub(network, "hub-b.azure-devices.net")
	if err := from.Put(hubtest.Device{ID: "sensor-042"}); err != nil {
		log.Fatal(err)
	}
	if err := from.PatchTags("sensor-042", map[string]any{"room": "attic"}); err != nil {
		log.Fatal(err)
	}

	device, _ := from.Get("sensor-042")
	twin, _ := from.Twin("sensor-042")
	if err := to.Put(device); err != nil {
		log.Fatal(err)
	}
	if err := to.SetTwin("sensor-042", twin); err != nil {
		log.Fatal(err)
	}
	from.Delete("sensor-042")
	moved, _ := to.Twin("sensor-042")
	fmt.Println(moved.Tags)
	// Output: map[room:attic]
}

// A hub that allows ten messages a day takes the eleventh badly.
func ExampleHub_SetLimits() {
	hub, conn, end := start()
	defer end()
	hub.SetLimits(hubtest.Limits{DailyMessages: 10})
	for i := 1; ; i++ {
		if err := conn.Send(
			context.Background(), hubconn.Message{Body: []byte("21.5")},
		); err != nil {
			fmt.Println("message", i, "ended the connection")
			break
		}
	}
	fmt.Println(len(hub.Messages()), "taken")
	// Output:
	// message 11 ended the connection
	// 10 taken
}

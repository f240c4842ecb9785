// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// connected is a connection to a simulated hub, which is there to play the back end.
func connected() (conn *hubconn.Conn, hub *hubtest.Hub, end func()) {
	network, hub, credential := simulatedHub()
	dialer := &hubconn.Dialer{DialContext: network.DialContext, TLSConfig: network.TLSConfig()}
	conn, err := dialer.Dial(
		context.Background(), hubconn.Hub{Host: hub.Host(), DeviceID: "sensor-042"}, credential,
	)
	if err != nil {
		log.Fatal(err)
	}
	return conn, hub, func() {
		_ = conn.Close()
		_ = network.Close()
	}
}

func ExampleConn_Send() {
	conn, hub, end := connected()
	defer end()

	err := conn.Send(context.Background(), hubconn.Message{
		Body:            []byte(`{"temperature":21.5}`),
		MessageID:       "2026-03-01/17",
		ContentType:     "application/json",
		ContentEncoding: "utf-8",
		Properties:      map[string]string{"level": "normal"},
	})
	if err != nil {
		log.Fatal(err)
	}
	received := hub.Messages()[0]
	fmt.Println(string(received.Body), received.Properties, received.System["$.mid"])

	err = conn.Send(context.Background(), hubconn.Message{Body: make([]byte, 1<<20)})
	fmt.Println(hubconn.ClassOf(err))
	// Output:
	// {"temperature":21.5} map[level:normal] 2026-03-01/17
	// caller
}

func ExampleConn_Messages() {
	conn, hub, end := connected()
	defer end()
	for _, text := range []string{"open", "close", "stop"} { // the back end
		if err := hub.SendC2D("sensor-042", hubtest.C2D{
			Body: []byte(text), Properties: map[string]string{"valve": "1"},
		}); err != nil {
			log.Fatal(err)
		}
	}

	for m, err := range conn.Messages(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(m.Body), m.Properties["valve"]) // acknowledged when this is done
		if string(m.Body) == "stop" {
			break
		}
	}
	// Output:
	// open 1
	// close 1
	// stop 1
}

func ExampleConn_HandleMethods() {
	conn, hub, end := connected()
	defer end()

	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- conn.HandleMethods(ctx, hubconn.Methods{Handlers: map[string]hubconn.MethodHandler{
			"add": func(_ context.Context, r hubconn.MethodRequest) (int, any, error) {
				var numbers []int
				if err := json.Unmarshal(r.Payload, &numbers); err != nil {
					return 400, map[string]string{"message": "an array of numbers, please"}, nil
				}
				sum := 0
				for _, n := range numbers {
					sum += n
				}
				return 200, sum, nil
			},
			"divide": func(context.Context, hubconn.MethodRequest) (int, any, error) { panic("by zero") },
		}})
	}()

	for _, name := range []string{"add", "divide", "multiply"} { // the back end
		status, response, err := hub.Invoke(
			context.Background(), "sensor-042", name, []int{1, 2, 3},
			hubtest.InvokeOptions{ConnectTimeout: time.Minute},
		)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, status, string(response))
	}
	stop()
	<-done
	// Output:
	// add 200 6
	// divide 500 {"message":"the handler failed"}
	// multiply 501 {"message":"method not implemented"}
}

func ExampleConn_Report() {
	conn, hub, end := connected()
	defer end()
	ctx := context.Background()

	if _, err := conn.Report(
		ctx, map[string]any{"firmware": "1.4", "wifi": map[string]any{"rssi": -61, "channel": 6}},
	); err != nil {
		log.Fatal(err)
	}
	// nil deletes
	if _, err := conn.Report(
		ctx, map[string]any{"wifi": map[string]any{"channel": nil}},
	); err != nil {
		log.Fatal(err)
	}
	twin, err := conn.Twin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(twin.Reported.JSON))

	stored, _ := hub.Twin("sensor-042")
	fmt.Println(stored.ReportedVersion == twin.Reported.Version)
	// Output:
	// {"firmware":"1.4","wifi":{"rssi":-61}}
	// true
}

func ExampleConn_Desired() {
	conn, hub, end := connected()
	defer end()
	ctx := context.Background()
	change := func(target float64) { // the back end
		if _, err := hub.PatchDesired(
			"sensor-042", map[string]any{"targetTemperature": target},
		); err != nil {
			log.Fatal(err)
		}
	}
	change(20)

	for d, err := range conn.Desired(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		var settings struct {
			TargetTemperature float64 `json:"targetTemperature"`
		}
		if err := d.Decode(&settings); err != nil {
			log.Fatal(err)
		}
		fmt.Println("full:", d.Full, "target:", settings.TargetTemperature)
		// Acknowledge, as IoT Plug and Play asks.
		ack := hubconn.PropertyAck{Value: settings.TargetTemperature, Code: 200, Version: d.Version}
		if _, err := conn.Report(ctx, map[string]any{"targetTemperature": ack}); err != nil {
			log.Fatal(err)
		}
		if settings.TargetTemperature == 22 {
			break
		}
		change(settings.TargetTemperature + 1)
	}
	// Output:
	// full: true target: 20
	// full: false target: 21
	// full: false target: 22
}

func ExampleComponent() {
	patch := hubconn.Component("thermostat1", map[string]any{
		"targetTemperature": hubconn.PropertyAck{Value: 21.5, Code: 200, Version: 7, Description: "set"},
	})
	text, err := json.Marshal(patch)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text))
	// Output: {"thermostat1":{"__t":"c","targetTemperature":{"value":21.5,"ac":200,"av":7,"ad":"set"}}}
}

func ExampleConn_Upload() {
	conn, hub, end := connected()
	defer end()

	file := bytes.NewReader(bytes.Repeat([]byte("a line of the log\n"), 500))
	err := conn.Upload(context.Background(), "logs/today.txt", file, hubconn.UploadOptions{
		BlockSize:   4000, // for the example; leave it out
		ContentType: "text/plain",
		Progress:    func(sent int64) { fmt.Println("sent", sent) },
	})
	if err != nil {
		log.Fatal(err)
	}
	stored, _ := hub.Blob("sensor-042/logs/today.txt")
	fmt.Println("stored", len(stored))
	// Output:
	// sent 4000
	// sent 8000
	// sent 9000
	// stored 9000
}

// A credential that shows when it is asked.
type shownKey struct{ deviceKey }

func (k shownKey) Token(ctx context.Context, resource string, expiry time.Time) (string, error) {
	fmt.Println("a token for", resource, "that lives", time.Until(expiry).Round(time.Minute))
	return k.deviceKey.Token(ctx, resource, expiry)
}

// The credential is asked for a token when the connection is made, and again whenever 70 to 90 % of
// the token's life are over. The program goes on meanwhile: what it sends is delivered, and its
// loops over Messages and Desired go on.
func ExampleDialer_tokenTTL() {
	network, hub, credential := simulatedHub()
	defer network.Close()

	dialer := &hubconn.Dialer{
		DialContext: network.DialContext, TLSConfig: network.TLSConfig(), TokenTTL: 4 * time.Hour,
	}
	conn, err := dialer.Dial(
		context.Background(), hubconn.Hub{Host: hub.Host(), DeviceID: "sensor-042"},
		shownKey{credential},
	)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Send(context.Background(), hubconn.Message{Body: []byte("hello")}); err != nil {
		log.Fatal(err)
	}
	// Output: a token for contoso.azure-devices.net/devices/sensor-042 that lives 4h0m0s
}

func ExampleDialer_Post() {
	network, hub, credential := simulatedHub()
	defer network.Close()

	// Wake, send, sleep.
	dialer := &hubconn.Dialer{DialContext: network.DialContext, TLSConfig: network.TLSConfig()}
	at := hubconn.Hub{Host: hub.Host(), DeviceID: "sensor-042"}
	err := dialer.Post(context.Background(), at, credential,
		hubconn.Message{Body: []byte(`{"temperature":21.5}`)},
		hubconn.Message{Body: []byte(`{"temperature":21.7}`)},
	)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range hub.Messages() {
		fmt.Println(m.Transport, string(m.Body))
	}
	// Output:
	// https {"temperature":21.5}
	// https {"temperature":21.7}
}

func ExampleDialer_Receive() {
	network, hub, credential := simulatedHub()
	defer network.Close()
	// the back end
	if err := hub.SendC2D("sensor-042", hubtest.C2D{Body: []byte("reboot")}); err != nil {
		log.Fatal(err)
	}

	dialer := &hubconn.Dialer{DialContext: network.DialContext, TLSConfig: network.TLSConfig()}
	at := hubconn.Hub{Host: hub.Host(), DeviceID: "sensor-042"}
	ctx := context.Background()
	for {
		d, err := dialer.Receive(ctx, at, credential)
		if err != nil {
			log.Fatal(err)
		}
		if d == nil {
			fmt.Println("no more")
			return
		}
		fmt.Println(string(d.Body))
		if err := d.Complete(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// reboot
	// no more
}

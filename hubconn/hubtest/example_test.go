// SPDX-License-Identifier: Apache-2.0

package hubtest_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/sas"
)

// key is the credential of a device. Programs take dps.SymmetricKey instead.
type key []byte

func (key) Certificate(context.Context) (*tls.Certificate, error) { return nil, nil }
func (k key) Token(_ context.Context, resource string, expiry time.Time) (string, error) {
	return sas.Token(resource, k, expiry), nil
}

// A device under test is given the network's DialContext and its roots, and nothing else is
// special.
func Example() {
	network := simnet.New()
	defer network.Close()
	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
	secret := key("0123456789abcdef")
	if err := hub.Put(hubtest.Device{
		ID: "sensor-042", PrimaryKey: base64.StdEncoding.EncodeToString(secret),
	}); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	dialer := &hubconn.Dialer{DialContext: network.DialContext, TLSConfig: network.TLSConfig()}
	device := hubconn.Hub{Host: hub.Host(), DeviceID: "sensor-042"}
	conn, err := dialer.Dial(ctx, device, secret)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Send(ctx, hubconn.Message{Body: []byte("21.5")}); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("hub got %s from %s\n", hub.Messages()[0].Body, hub.Messages()[0].DeviceID)

	hub.Disable("sensor-042")
	<-conn.Context().Done()
	_, err = dialer.Dial(ctx, device, secret)
	fmt.Println(hubconn.ClassOf(err), "because", hub.Attempts()[1].Reason)
	// Output:
	// hub got 21.5 from sensor-042
	// rejected because device is disabled
}

// The hub is overloaded: it answers the second CONNECT with 3, and throttles the upgrade of a
// device on WebSocket.
func ExampleHub_Inject() {
	network := simnet.New()
	defer network.Close()
	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
	hub.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3})
	hub.Inject(hubtest.Fault{
		On: hubtest.Upgrade, Status: 429, RetryAfter: "120", ErrorCode: "ThrottlingException",
		Code: 429001, Times: -1,
	})

	device := hubconn.Hub{Host: hub.Host(), DeviceID: "sensor-042"}
	for _, transport := range []hubconn.Transport{hubconn.MQTT, hubconn.MQTTWebSocket} {
		dialer := &hubconn.Dialer{
			DialContext: network.DialContext, TLSConfig: network.TLSConfig(),
			Transport: transport,
		}
		_, err := dialer.Dial(context.Background(), device, key("any"))
		fmt.Println(hubconn.ClassOf(err))
	}
	for _, a := range hub.Attempts() {
		fmt.Println(a.Transport, a.ReturnCode, a.Status)
	}
	// Output:
	// server
	// throttled
	// mqtt 3 0
	// ws 0 429
}

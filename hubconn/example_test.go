// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/sas"
	"github.com/rehome-iot/rehome/retry"
)

// A credential that signs with a key. Programs take dps.SymmetricKey or dps.X509 instead.
type deviceKey struct{ key []byte }

func (deviceKey) Certificate(context.Context) (*tls.Certificate, error) { return nil, nil }

func (k deviceKey) Token(_ context.Context, resource string, expiry time.Time) (string, error) {
	return sas.Token(resource, k.key, expiry), nil
}

// simulatedHub stands in for Azure.
func simulatedHub() (*simnet.Network, *hubtest.Hub, deviceKey) {
	network := simnet.New()
	hub := hubtest.NewHub(network, "contoso.azure-devices.net")
	credential := deviceKey{key: []byte("0123456789abcdef")}
	if err := hub.Put(hubtest.Device{
		ID: "sensor-042", PrimaryKey: base64.StdEncoding.EncodeToString(credential.key),
	}); err != nil {
		log.Fatal(err)
	}
	return network, hub, credential
}

func ExampleDialer_Dial() {
	network, hub, credential := simulatedHub()
	defer network.Close()

	// both only for the simulator
	dialer := &hubconn.Dialer{DialContext: network.DialContext, TLSConfig: network.TLSConfig()}
	ctx := context.Background()
	conn, err := dialer.Dial(ctx, hubconn.Hub{Host: hub.Host(), DeviceID: "sensor-042"}, credential)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	err = conn.Send(ctx, hubconn.Message{
		Body:            []byte(`{"temperature":21.5}`),
		ContentType:     "application/json",
		ContentEncoding: "utf-8",
		Properties:      map[string]string{"level": "normal"},
	})
	if err != nil {
		log.Fatal(err)
	}
	received := hub.Messages()[0]
	fmt.Println(received.DeviceID, string(received.Body), received.Properties)
	// Output: sensor-042 {"temperature":21.5} map[level:normal]
}

func ExampleClassOf() {
	network, hub, credential := simulatedHub()
	defer network.Close()
	hub.Disable("sensor-042")

	dialer := &hubconn.Dialer{DialContext: network.DialContext, TLSConfig: network.TLSConfig()}
	_, err := dialer.Dial(
		context.Background(), hubconn.Hub{Host: hub.Host(), DeviceID: "sensor-042"}, credential,
	)
	fmt.Println(hubconn.ClassOf(err), "calls for:", retry.Classify(err))
	if e, ok := errors.AsType[*hubconn.Error](err); ok {
		fmt.Println("return code", e.ReturnCode)
	}
	// Output:
	// rejected calls for: register
	// return code 5
}

func ExampleConn_Context() {
	network, hub, credential := simulatedHub()
	defer network.Close()

	dialer := &hubconn.Dialer{DialContext: network.DialContext, TLSConfig: network.TLSConfig()}
	conn, err := dialer.Dial(
		context.Background(), hubconn.Hub{Host: hub.Host(), DeviceID: "sensor-042"}, credential,
	)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	hub.Disconnect("sensor-042") // as the hub does when it is upgraded
	<-conn.Context().Done()
	fmt.Println(context.Cause(conn.Context()))
	// Output: hubconn: connection contoso.azure-devices.net/sensor-042: unreachable: EOF
}

// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"fmt"
	"log"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// A program has an MQTT client of its own. Here the operator has moved the device; its old hub
// turns it away, and the rules send it to the new one.
func ExampleDevice_NextAttempt() {
	ctx, s := context.Background(), devicetest.New()
	defer s.Close()
	dev := s.Device
	if err := dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
		return hub.Send(ctx, hubconn.Message{Body: []byte("first boot")})
	}); err != nil {
		log.Fatal(err)
	}
	if err := s.DPS.MoveNow(devicetest.DeviceID, devicetest.OtherHubHost); err != nil {
		log.Fatal(err)
	}
	// connect stands for the client: it connects, and subscribes to something.
	connect := func(a dps.Assignment, clientID, username, password string) error {
		if a.Hub == devicetest.OtherHubHost {
			return nil
		}
		const code, elapsed = 5, 0 // of the CONNACK
		return &hubconn.Error{
			Op: "connect", Hub: a.Target(), ReturnCode: code, Elapsed: elapsed,
			Class: hubconn.ClassOfReturnCode(code, elapsed),
		}
	}
	for {
		a, err := dev.NextAttempt(ctx)
		if err != nil {
			log.Fatal(err)
		}
		token, err := dev.Token(ctx, a, 0)
		if err != nil {
			log.Fatal(err)
		}
		hub := a.Target()
		err = connect(a, hub.ClientID(), dev.Hub.Username(hub), token)
		if err == nil {
			fmt.Println(dev.Confirm(ctx, a), a.Hub)
			return
		}
		fmt.Println(hubconn.ClassOf(err), "by", a.Hub)
		if _, err := dev.Rejected(ctx, a, err); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// rejected by hub-a.azure-devices.net
	// <nil> hub-b.azure-devices.net
}

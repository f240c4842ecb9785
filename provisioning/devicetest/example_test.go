// SPDX-License-Identifier: Apache-2.0

package devicetest_test

import (
	"context"
	"fmt"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
)

// The device registers, connects and sends. A test calls [devicetest.Start], which needs no Close.
func ExampleNew() {
	s := devicetest.New()
	defer s.Close()
	err := s.Device.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
		return hub.Send(ctx, hubconn.Message{Body: []byte(`{"temperature":21.5}`)})
	})
	for _, m := range s.Hub.Messages() {
		fmt.Printf("%s sent %s\n", m.DeviceID, m.Body)
	}
	fmt.Println("requests to DPS:", s.DPS.Count(), err)
	// Output:
	// sensor-042 sent {"temperature":21.5}
	// requests to DPS: 2 <nil>
}

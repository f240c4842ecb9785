// SPDX-License-Identifier: Apache-2.0

// Bare connects with crypto/tls and Paho and stays connected.
package main

import (
	"os"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/rehome-iot/rehome/hubconn/testdata/bench/target"
)

func main() {
	o := paho.NewClientOptions()
	o.AddBroker("ssl://" + os.Getenv(target.Addr)).SetTLSConfig(target.TLSConfig())
	o.SetClientID(target.DeviceID).SetUsername(target.Username)
	o.SetPassword(os.Getenv(target.Token)).SetProtocolVersion(4).SetCleanSession(false)
	client := paho.NewClient(o)
	connected := client.Connect()
	connected.Wait()
	target.Check(connected.Error())
	target.Connected()
}

// SPDX-License-Identifier: Apache-2.0

// Command quickstart shows, in less than a minute and with no cloud, what a device does that is
// built with package provisioning: it starts a simulated Device Provisioning Service (DPS) and
// three simulated IoT hubs on loopback, and plays a device's life with them in real time, over real
// TLS, HTTPS, MQTT and WebSocket. Every step is checked against what it should be; the exit status
// is 1 if one went otherwise.
//
//	go run ./examples/quickstart
package main

import (
	"fmt"

	"github.com/rehome-iot/rehome/examples/internal/stage"
)

var program = stage.Program{
	Name: "quickstart", Cast: "A device, a simulated DPS and three simulated hubs",
	Build: build, Print: printReport,
}

func main() { program.Main() }

func printReport(r *stage.Report, tell *stage.Narrator) {
	r.Print(tell, stage.Table{
		Above:   fmt.Sprintf("%29s", "DPS requests, expected/seen"),
		Columns: []stage.Column{stage.Register, stage.Poll, stage.Lookup, stage.Clock, stage.Hub},
	}, stage.Table{Columns: []stage.Column{stage.Within, stage.Took}})
}

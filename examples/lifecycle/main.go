// SPDX-License-Identifier: Apache-2.0

// Command lifecycle plays the whole life of a device's identity, in less than a minute and with no
// cloud: a blank board is let into a quarantine hub, proves what it runs and moves home, has its
// certificate renewed, is revoked, registers anew, and is sold. It starts a simulated Device
// Provisioning Service (DPS) that issues certificates, and three simulated IoT hubs, on loopback:
// TLS, HTTPS and MQTT are real. Every step is checked against what it should be; the exit status is
// 1 if one went otherwise.
//
//	go run ./examples/lifecycle
package main

import (
	"fmt"

	"github.com/rehome-iot/rehome/examples/internal/stage"
)

var program = stage.Program{
	Name: "lifecycle", Cast: "A device, a simulated DPS that issues certificates, and three " +
		"simulated hubs", Build: build, Print: printReport,
}

func main() { program.Main() }

func printReport(r *stage.Report, tell *stage.Narrator) {
	r.Print(tell, stage.Table{
		Above: fmt.Sprintf("%22s %19s", "DPS, expected/seen", "hubs, expected/seen"),
		Columns: []stage.Column{
			stage.Register, stage.Poll, stage.Clock, stage.Attempts, stage.Renewals,
		},
	}, stage.Table{
		Columns: []stage.Column{stage.Hub, stage.Credential, stage.Within, stage.Took},
	})
}

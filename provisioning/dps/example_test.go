// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// A Client makes one attempt at what it is asked. Most programs want a Device, which owns the loop.
func ExampleClient() {
	// The service, simulated in memory.
	network := simnet.New()
	defer func() { _ = network.Close() }()
	service := dpstest.New(network, dpstest.Config{RetryAfter: time.Second})
	service.Link(hubtest.NewHub(network, "hub-a.azure-devices.net"))
	key := "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	if err := service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-042", Attestation: dpstest.Keys(key, ""),
	}); err != nil {
		log.Fatal(err)
	}

	client := &dps.Client{
		IDScope:     "0ne00000001",
		Attestation: dps.SymmetricKey{ID: "sensor-042", Key: key},
		TLSConfig:   network.TLSConfig(), // not needed with Azure
		DialContext: network.DialContext, // not needed with Azure
	}
	ctx := context.Background()
	assignment, err := client.Register(
		ctx, dps.Registration{Payload: map[string]string{"model": "t-1"}},
	)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(assignment.Status, assignment.DeviceID, "at", assignment.Hub)

	// Later: where was it again?
	assignment, err = client.Lookup(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(assignment.Status, assignment.DeviceID, "at", assignment.Hub)
	// Output:
	// assigned sensor-042 at hub-a.azure-devices.net
	// assigned sensor-042 at hub-a.azure-devices.net
}

// The group key stays with whoever makes the devices; each device is given its own.
func ExampleDeriveDeviceKey() {
	const groupKey = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/" +
		"lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
	key, err := dps.DeriveDeviceKey(groupKey, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key)
	// Output: Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=
}

// Keys do not show when an attestation is printed or logged.
func ExampleSymmetricKey() {
	attestation := dps.SymmetricKey{
		ID: "sensor-042", Key: "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
	}
	fmt.Printf("%+v\n", attestation)
	fmt.Println(dps.SymmetricKey{ID: "sensor 042"}.Validate())
	// Output:
	// symmetric key of "sensor-042" (redacted)
	// dps: validate: symmetric key: id "sensor 042" has an illegal character at position 7: use letters, digits, '-', '.', '_' and ':'
}

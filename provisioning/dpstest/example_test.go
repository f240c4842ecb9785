// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// A device asks for its registration in plain HTTP. What it gets is what the service gives.
func Example() {
	network := simnet.New()
	defer network.Close()
	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
	service := dpstest.New(network, dpstest.Config{AssignTime: -1})
	service.Link(hub)
	certificate := simnet.NewCA("Factory", time.Now()).Device("sensor-042")
	err := service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-042",
		Attestation:    dpstest.ClientCertificates(certificate.Leaf, nil),
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	secure := network.TLSConfig()
	secure.Certificates = []tls.Certificate{certificate}
	client := &http.Client{
		Transport: &http.Transport{DialContext: network.DialContext, TLSClientConfig: secure},
	}
	defer client.CloseIdleConnections()
	request := func(method, path string) (body struct {
		OperationID       string         `json:"operationId"`
		Status            string         `json:"status"`
		RegistrationState dpstest.Record `json:"registrationState"`
	}) {
		address := "https://" + service.Endpoint() + "/" + service.IDScope() + "/registrations/sensor-042/" + path
		r, _ := http.NewRequest(method, address+"?api-version=2021-06-01", nil)
		response, err := client.Do(r)
		if err != nil {
			fmt.Println(err)
			return body
		}
		defer response.Body.Close()
		_ = json.NewDecoder(response.Body).Decode(&body)
		fmt.Printf(
			"%d %s, Retry-After %q\n", response.StatusCode, body.Status,
			response.Header.Get("Retry-After"),
		)
		return body
	}
	accepted := request("PUT", "register")
	final := request("GET", "operations/"+accepted.OperationID)
	fmt.Println(final.RegistrationState.AssignedHub, final.RegistrationState.Substatus)
	_, known := hub.Get("sensor-042")
	fmt.Println("known at the hub:", known)
	fmt.Println("requests:", service.Count())
	// Output:
	// 202 assigning, Retry-After "3"
	// 200 assigned, Retry-After ""
	// hub-a.azure-devices.net initialAssignment
	// known at the hub: true
	// requests: 2
}

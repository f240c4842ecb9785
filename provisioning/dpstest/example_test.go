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
	service := dpstest.New(network, dpstest.Config{Polls: 1})
	service.Link(hub)
	certificate := simnet.NewCA("Factory", time.Now()).Device("sensor-042")
	err := service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-042", Attestation: dpstest.ClientCertificates(certificate.Leaf, nil),
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	secure := network.TLSConfig()
	secure.Certificates = []tls.Certificate{certificate}
	client := &http.Client{Transport: &http.Transport{DialContext: network.DialContext, TLSClientConfig: secure}}
	defer client.CloseIdleConnections()
	ask := func(method, path string) (answer struct {
		OperationID       string         `json:"operationId"`
		Status            string         `json:"status"`
		RegistrationState dpstest.Record `json:"registrationState"`
	}) {
		address := "https://" + service.Endpoint() + "/" + service.IDScope() + "/registrations/sensor-042/" + path
		request, _ := http.NewRequest(method, address+"?api-version=2021-06-01", nil)
		response, err := client.Do(request)
		if err != nil {
			fmt.Println(err)
			return answer
		}
		defer response.Body.Close()
		_ = json.NewDecoder(response.Body).Decode(&answer)
		fmt.Printf("%d %s, Retry-After %q\n", response.StatusCode, answer.Status, response.Header.Get("Retry-After"))
		return answer
	}
	accepted := ask("PUT", "register")
	final := ask("GET", "operations/"+accepted.OperationID)
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

// What a throttled service does to a device is a matter of one line.
func ExampleServer_Inject() {
	network := simnet.New()
	defer network.Close()
	service := dpstest.New(network, dpstest.Config{})
	service.Inject(dpstest.Fault{On: dpstest.Clock, Status: 429, RetryAfter: "120"})

	client := &http.Client{Transport: &http.Transport{DialContext: network.DialContext, TLSClientConfig: network.TLSConfig()}}
	defer client.CloseIdleConnections()
	for range 2 {
		response, err := client.Head("https://" + service.Endpoint() + "/")
		if err != nil {
			fmt.Println(err)
			return
		}
		response.Body.Close()
		fmt.Printf("%d %q\n", response.StatusCode, response.Header.Get("Retry-After"))
	}
	for _, request := range service.Requests() {
		fmt.Println(request.Op, request.Transport, request.Status, request.Code)
	}
	// Output:
	// 429 "120"
	// 404 ""
	// clock https 429 429001
	// clock https 404 404000
}

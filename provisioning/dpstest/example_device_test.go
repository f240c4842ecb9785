// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	deviceKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	hubNorth  = "hub-north.azure-devices.net"
	hubSouth  = "hub-south.azure-devices.net"
)

// simulate starts a service with two hubs in memory. Registrations are done at once, so that the
// examples take no time.
func simulate(cfg dpstest.Config) (*simnet.Network, *dpstest.Server) {
	network := simnet.New()
	cfg.PollsPer10s, cfg.AssignTime = -1, cmp.Or(cfg.AssignTime, -1)
	service := dpstest.New(network, cfg)
	service.Link(hubtest.NewHub(network, hubNorth), hubtest.NewHub(network, hubSouth))
	return network, service
}

// outcome is the last response to a registration.
type outcome struct {
	Status     int    `json:"-"`
	RetryAfter string `json:"-"`

	ErrorCode   int            `json:"errorCode"`
	OperationID string         `json:"operationId"`
	Record      dpstest.Record `json:"registrationState"`
}

func (o outcome) String() string {
	if o.Record.Status == dpstest.StatusAssigned {
		return o.Record.DeviceID + " at " + o.Record.AssignedHub + ", " + o.Record.Substatus
	}
	return fmt.Sprintf("%d %s", o.Status, cmp.Or(o.Record.Status, strconv.Itoa(o.ErrorCode)))
}

// register is what a device does over HTTPS, but that it does not wait between polls. A real one
// does it by package provisioning, or package dps.
func register(network *simnet.Network, who dps.Attestation) outcome {
	ctx, id := context.Background(), who.RegistrationID()
	token, err := who.Token(ctx, "0ne00000001/registrations/"+id, time.Now().Add(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	secure := network.TLSConfig()
	if certificate, err := who.Certificate(ctx); err != nil {
		log.Fatal(err)
	} else if certificate != nil {
		secure.Certificates = []tls.Certificate{*certificate}
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: network.DialContext, TLSClientConfig: secure,
	}}
	defer client.CloseIdleConnections()
	send := func(method, path string) (o outcome) {
		address := "https://" + dpstest.GlobalEndpoint + "/0ne00000001/registrations/" + id + path
		r, err := http.NewRequest(method, address+"?api-version=2021-06-01", http.NoBody)
		if err != nil {
			log.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", token)
		}
		response, err := client.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(&o); err != nil {
			log.Fatal(err)
		}
		o.Status, o.RetryAfter = response.StatusCode, response.Header.Get("Retry-After")
		return o
	}
	o := send(http.MethodPut, "/register")
	for o.Status == http.StatusAccepted {
		time.Sleep(time.Millisecond)
		o = send(http.MethodGet, "/operations/"+o.OperationID)
	}
	return o
}

// An individual enrollment lets one device register. Its device ID may differ from its registration
// ID.
func ExampleServer_Enroll() {
	network, service := simulate(dpstest.Config{})
	defer network.Close()
	err := service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID:   "sensor-042",
		DeviceID:         "boiler-room",
		Attestation:      dpstest.Keys(deviceKey, ""),
		AllocationPolicy: dpstest.PolicyStatic,
		IoTHubs:          []string{hubNorth},
	})
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println(register(network, dps.SymmetricKey{ID: "sensor-042", Key: deviceKey}))
	fmt.Println(register(network, dps.SymmetricKey{ID: "sensor-043", Key: deviceKey}))
	// Output:
	// boiler-room at hub-north.azure-devices.net, initialAssignment
	// 401 401002
}

// A group lets every device register whose key is derived from the group's.
func ExampleServer_EnrollGroup() {
	network, service := simulate(dpstest.Config{})
	defer network.Close()
	err := service.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "sensors", IoTHubs: []string{hubSouth},
	})
	if err != nil {
		log.Fatal(err)
	}
	group, _ := service.Group("sensors") // its keys were generated
	groupKey := group.Attestation.SymmetricKey.PrimaryKey

	for _, id := range []string{"sensor-1", "sensor-2"} {
		key, err := dps.DeriveDeviceKey(groupKey, id)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(register(network, dps.SymmetricKey{ID: id, Key: key}))
	}
	// Output:
	// sensor-1 at hub-south.azure-devices.net, initialAssignment
	// sensor-2 at hub-south.azure-devices.net, initialAssignment
}

// A group also lets devices register by certificates that a CA signed.
func ExampleSigningCertificates() {
	network, service := simulate(dpstest.Config{})
	defer network.Close()
	factory := simnet.NewCA("Factory", time.Now())
	err := service.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "cameras", IoTHubs: []string{hubNorth},
		Attestation: dpstest.SigningCertificates(factory.Certificate(), nil),
	})
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println(register(network, dps.X509{KeyPair: factory.Device("camera-7")}))
	other := simnet.NewCA("Other", time.Now())
	fmt.Println(register(network, dps.X509{KeyPair: other.Device("camera-8")}))
	// Output:
	// camera-7 at hub-north.azure-devices.net, initialAssignment
	// 401 401002
}

// The enrollment's policy says whether a device that registers again may move, and its data with
// it.
func ExampleReprovisionPolicy() {
	network, service := simulate(dpstest.Config{})
	defer network.Close()
	enrollment := dpstest.IndividualEnrollment{
		RegistrationID: "sensor-042", Attestation: dpstest.Keys(deviceKey, ""),
		AllocationPolicy: dpstest.PolicyStatic, IoTHubs: []string{hubNorth},
	}
	for _, policy := range []*dpstest.ReprovisionPolicy{
		{UpdateHubAssignment: false},
		{UpdateHubAssignment: true, MigrateDeviceData: true},
		{UpdateHubAssignment: true, MigrateDeviceData: false},
	} {
		enrollment.ReprovisionPolicy = policy
		if err := service.Enroll(enrollment); err != nil {
			log.Fatal(err)
		}
		fmt.Println(register(network, dps.SymmetricKey{ID: "sensor-042", Key: deviceKey}))
		enrollment.IoTHubs = []string{hubSouth} // from now on
	}
	// Output:
	// sensor-042 at hub-north.azure-devices.net, initialAssignment
	// sensor-042 at hub-south.azure-devices.net, deviceDataMigrated
	// sensor-042 at hub-south.azure-devices.net, deviceDataReset
}

// A custom allocation is a webhook, as at the service; or a function of the test, see
// Config.Allocate.
func ExampleCustomAllocationDefinition() {
	network, service := simulate(dpstest.Config{})
	defer network.Close()
	webhook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			LinkedHubs []string `json:"linkedHubs"`
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		last := request.LinkedHubs[len(request.LinkedHubs)-1]
		_ = json.NewEncoder(w).Encode(map[string]any{
			"iotHubHostName": last, "payload": map[string]int{"floor": 3},
		})
	}))
	defer webhook.Close()
	err := service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-042", Attestation: dpstest.Keys(deviceKey, ""),
		AllocationPolicy: dpstest.PolicyCustom,
		CustomAllocationDefinition: &dpstest.CustomAllocationDefinition{
			WebhookURL: webhook.URL, APIVersion: "2021-10-01",
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	record := register(network, dps.SymmetricKey{ID: "sensor-042", Key: deviceKey}).Record
	fmt.Println(record.AssignedHub, string(record.Payload))
	// Output:
	// hub-south.azure-devices.net {"floor":3}
}

// The nearest hub is one of a table.
func ExampleServer_SetLatency() {
	network, service := simulate(dpstest.Config{AllocationPolicy: dpstest.PolicyGeoLatency})
	defer network.Close()
	if err := service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-042", Attestation: dpstest.Keys(deviceKey, ""),
	}); err != nil {
		log.Fatal(err)
	}
	service.SetLatency("*", hubNorth, 80*time.Millisecond)
	service.SetLatency("*", hubSouth, 20*time.Millisecond)
	fmt.Println(register(network, dps.SymmetricKey{ID: "sensor-042", Key: deviceKey}))
	// Output:
	// sensor-042 at hub-south.azure-devices.net, initialAssignment
}

// A throttled service is one line of a test. The first request that fits is refused, and the next
// one is not.
func ExampleServer_Inject() {
	network := simnet.New()
	defer network.Close()
	service := dpstest.New(network, dpstest.Config{AssignTime: -1})
	service.Inject(dpstest.Fault{On: dpstest.Clock, Status: 429, RetryAfter: "120"})
	service.Inject(dpstest.Fault{On: dpstest.Register, Code: 429001, RetryAfter: "60"})

	throttled := register(network, dps.SymmetricKey{ID: "sensor-042", Key: deviceKey})
	fmt.Println(throttled.Status, throttled.ErrorCode, "wait", throttled.RetryAfter)
	client := &http.Client{Transport: &http.Transport{
		DialContext: network.DialContext, TLSClientConfig: network.TLSConfig(),
	}}
	defer client.CloseIdleConnections()
	for range 2 {
		response, err := client.Head("https://" + service.Endpoint() + "/")
		if err != nil {
			log.Fatal(err)
		}
		response.Body.Close()
		fmt.Printf("%d %q\n", response.StatusCode, response.Header.Get("Retry-After"))
	}
	// Output:
	// 429 429001 wait 60
	// 429 "120"
	// 404 ""
}

// A disabled enrollment blocks its device when it registers the next time. Its identity at the hub
// stays as it is.
func ExampleServer_SetEnabled() {
	network, service := simulate(dpstest.Config{})
	defer network.Close()
	if err := service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-042", Attestation: dpstest.Keys(deviceKey, ""),
		IoTHubs: []string{hubNorth},
	}); err != nil {
		log.Fatal(err)
	}
	who := dps.SymmetricKey{ID: "sensor-042", Key: deviceKey}
	fmt.Println(register(network, who))
	for _, enabled := range []bool{false, true} {
		if err := service.SetEnabled("sensor-042", enabled); err != nil {
			log.Fatal(err)
		}
		fmt.Println(register(network, who))
	}
	// Output:
	// sensor-042 at hub-north.azure-devices.net, initialAssignment
	// 200 disabled
	// sensor-042 at hub-north.azure-devices.net, reprovisionedToInitialAssignment
}

// Move decides where a device goes when it registers the next time; MoveNow moves it at once, so
// that its hub rejects it.
func ExampleServer_MoveNow() {
	network := simnet.New()
	defer network.Close()
	north, south := hubtest.NewHub(network, hubNorth), hubtest.NewHub(network, hubSouth)
	service := dpstest.New(network, dpstest.Config{AssignTime: -1})
	service.Link(north)
	if err := service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-042", Attestation: dpstest.Keys(deviceKey, ""),
	}); err != nil {
		log.Fatal(err)
	}
	who := dps.SymmetricKey{ID: "sensor-042", Key: deviceKey}
	fmt.Println(register(network, who))

	service.Link(south)
	if err := service.MoveNow("sensor-042", hubSouth); err != nil {
		log.Fatal(err)
	}
	_, atNorth := north.Get("sensor-042")
	_, atSouth := south.Get("sensor-042")
	fmt.Println("known at the old hub:", atNorth, "at the new one:", atSouth)
	fmt.Println(register(network, who))
	// Output:
	// sensor-042 at hub-north.azure-devices.net, initialAssignment
	// known at the old hub: false at the new one: true
	// sensor-042 at hub-south.azure-devices.net, reprovisionedToInitialAssignment
}

// The log has all that devices requested, in order.
func ExampleServer_Requests() {
	network, service := simulate(dpstest.Config{})
	defer network.Close()
	if err := service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-042", Attestation: dpstest.Keys(deviceKey, ""),
	}); err != nil {
		log.Fatal(err)
	}
	register(network, dps.SymmetricKey{ID: "sensor-042", Key: deviceKey})
	register(network, dps.SymmetricKey{ID: "unknown", Key: deviceKey})
	for _, r := range service.Requests() {
		fmt.Println(r.Op, r.Transport, r.RegistrationID, r.Status, r.Code)
	}
	fmt.Println("registrations:", service.Count(dpstest.Register))
	// Output:
	// register https sensor-042 202 0
	// poll https sensor-042 200 0
	// register https unknown 401 401002
	// registrations: 2
}

// What a service knows goes on at another one: after a restart, say.
func ExampleServer_Save() {
	var state bytes.Buffer
	func() {
		network, service := simulate(dpstest.Config{})
		defer network.Close()
		if err := service.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: "sensor-042", Attestation: dpstest.Keys(deviceKey, ""),
			IoTHubs: []string{hubNorth},
		}); err != nil {
			log.Fatal(err)
		}
		fmt.Println(register(network, dps.SymmetricKey{ID: "sensor-042", Key: deviceKey}))
		if err := service.Save(&state); err != nil {
			log.Fatal(err)
		}
	}()

	network, service := simulate(dpstest.Config{})
	defer network.Close()
	if err := service.Load(&state); err != nil {
		log.Fatal(err)
	}
	record, _ := service.Registration("sensor-042")
	fmt.Println(record.Status, record.AssignedHub)
	// Output:
	// sensor-042 at hub-north.azure-devices.net, initialAssignment
	// assigned hub-north.azure-devices.net
}

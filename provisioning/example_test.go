package provisioning_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const exampleKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// simulation is what the examples run against: DPS and two hubs in memory, and devices that have
// been registered before.
type simulation struct {
	network *simnet.Network
	dps     *dpstest.Server
	a, b    *hubtest.Hub
	entry   []byte // what sensor-042 remembers
}

const exampleID = "sensor-042"

// simulated is made once, because a registration takes a second, as it does at the service.
var simulated = sync.OnceValue(func() *simulation {
	network := simnet.New()
	s := &simulation{
		network: network,
		dps:     dpstest.New(network, dpstest.Config{RetryAfter: time.Second}),
		a:       hubtest.NewHub(network, "hub-a.azure-devices.net"),
		b:       hubtest.NewHub(network, "hub-b.azure-devices.net"),
	}
	s.dps.Link(s.a, s.b)
	first := s.firstBoot(exampleID)
	var err error
	if s.entry, err = first.Store.Get(context.Background(), exampleID); err != nil {
		log.Fatal(err)
	}
	return s
})

// device is one that belongs to hub-a and was there before.
func (s *simulation) device() *provisioning.Device {
	flash := &cache.Memory{} // a cache.Dir on a device
	if err := flash.Put(context.Background(), exampleID, s.entry); err != nil {
		log.Fatal(err)
	}
	return &provisioning.Device{
		IDScope:     s.dps.IDScope(),
		Attestation: dps.SymmetricKey{ID: exampleID, Key: exampleKey},
		Store:       flash,
		TLSConfig:   s.network.TLSConfig(), // not needed with Azure
		DialContext: s.network.DialContext, // not needed with Azure
	}
}

// firstBoot enrolls a device at hub-a and lets it register.
func (s *simulation) firstBoot(id string) *provisioning.Device {
	s.enroll(id, s.a)
	dev := &provisioning.Device{
		IDScope:     s.dps.IDScope(),
		Attestation: dps.SymmetricKey{ID: id, Key: exampleKey},
		Store:       &cache.Memory{},
		TLSConfig:   s.network.TLSConfig(),
		DialContext: s.network.DialContext,
	}
	if err := dev.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
		return hub.Send(ctx, hubconn.Message{Body: []byte("first boot")})
	}); err != nil {
		log.Fatal(err)
	}
	return dev
}

func (s *simulation) enroll(id string, hub *hubtest.Hub) {
	err := s.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: id, Attestation: dpstest.Keys(exampleKey, ""),
		IoTHubs: []string{hub.Host()}, AllocationPolicy: dpstest.PolicyStatic,
	})
	if err != nil {
		log.Fatal(err)
	}
}

// Run calls the function for each connection, until the program ends. This one sends one message
// and returns, which ends Run.
func ExampleDevice_Run() {
	dev := simulated().device()
	err := dev.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
		fmt.Println("connected to", dev.Status().Hub.Host)
		return hub.Send(ctx, hubconn.Message{Body: []byte(`{"temperature":21.5}`)})
	})
	fmt.Println(err)
	// Output:
	// connected to hub-a.azure-devices.net
	// <nil>
}

// A module runs beside its device, with a key of its own, and follows it from hub to hub.
func ExampleModule_Run() {
	dev := simulated().device()
	_ = simulated().a.PutModule(exampleID, hubtest.Module{ID: "camera", PrimaryKey: exampleKey})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		_ = dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
			<-ctx.Done() // a device does its work here
			return nil
		})
	})

	camera := &provisioning.Module{
		Device: dev, ID: "camera", Credential: dps.SymmetricKey{ID: "camera", Key: exampleKey},
	}
	err := camera.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
		fmt.Println("connected as", hub.Hub())
		return hub.Send(ctx, hubconn.Message{Body: []byte(`{"frames":25}`)})
	})
	fmt.Println(err)
	// Output:
	// connected as hub-a.azure-devices.net/sensor-042/camera
	// <nil>
}

// Connect follows the same rules up to the connection, and leaves it to the caller.
func ExampleDevice_Connect() {
	dev := simulated().device()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	hub, err := dev.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = hub.Close() }()
	fmt.Println(hub.Send(ctx, hubconn.Message{Body: []byte("hello")}))
	// Output: <nil>
}

// A program with an MQTT client of its own needs to know where to connect to.
func ExampleDevice_Assignment() {
	dev := simulated().device()
	a, err := dev.Assignment(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("mqtts://"+a.Hub+":8883", "client ID", a.DeviceID)
	// Output: mqtts://hub-a.azure-devices.net:8883 client ID sensor-042
}

// The operator has moved the device in DPS. A signal, a direct method or a desired property makes
// the program ask.
func ExampleDevice_Reprovision() {
	s := simulated()
	dev := s.firstBoot("sensor-4")
	if err := s.dps.Move("sensor-4", s.b.Host()); err != nil {
		log.Fatal(err)
	}
	a, err := dev.Reprovision(context.Background(), "test")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("now at", a.Hub)
	// Output: now at hub-b.azure-devices.net
}

// Status tells a person why a device is where it is.
func ExampleDevice_Status() {
	dev := simulated().device()
	err := dev.Run(context.Background(), func(context.Context, *hubconn.Conn) error {
		s := dev.Status()
		fmt.Println(s.State, "to", s.Hub.Host, "from the", s.Source, "confirmed:", s.Confirmed)
		return nil
	})
	fmt.Println(err, dev.Status().State)
	// Output:
	// connected to hub-a.azure-devices.net from the store confirmed: true
	// <nil> stopped
}

// Remembered shows what the store holds, for a diagnosis without any use of the network.
func ExampleDevice_Remembered() {
	dev := simulated().device()
	r, err := dev.Remembered(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("confirmed:", r.Confirmed.Hub, "candidate:", r.Candidate != nil, "next:", r.Next)
	// Output: confirmed: hub-a.azure-devices.net candidate: false next: wait
}

// Forget is a factory reset: the next start registers.
func ExampleDevice_Forget() {
	dev := simulated().device()
	ctx := context.Background()
	if err := dev.Forget(ctx); err != nil {
		log.Fatal(err)
	}
	r, err := dev.Remembered(ctx)
	fmt.Println(r.Confirmed == nil, r.Next, err)
	// Output: true register <nil>
}

// A device whose store is lost asks DPS where it belongs, and registers nothing.
func ExampleTrace() {
	s := simulated()
	old := s.device()
	dev := &provisioning.Device{
		IDScope: old.IDScope, Attestation: old.Attestation,
		TLSConfig: old.TLSConfig, DialContext: old.DialContext,
		Trace: &provisioning.Trace{
			Request: func(r provisioning.DPSRequest) { fmt.Println(r.Kind, "because:", r.Reason) },
			Assigned: func(a dps.Assignment, moved bool) {
				fmt.Println("belongs to", a.Hub, "moved:", moved)
			},
			Changed: func(s provisioning.Status) { fmt.Println(s.State) },
		},
	}
	err := dev.Run(context.Background(), func(context.Context, *hubconn.Conn) error { return nil })
	fmt.Println(err)
	// Output:
	// lookup because: no usable store
	// looking-up
	// belongs to hub-a.azure-devices.net moved: true
	// connecting
	// connected
	// stopped
	// <nil>
}

// secureElement signs with a key that never leaves it.
type secureElement struct{ crypto.Signer }

// The private key of a certificate may be any crypto.Signer.
func ExampleDevice_x509() {
	s := simulated()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	made := s.network.CA().DeviceFor("sensor-9", key) // at the factory
	leaf, err := x509.ParseCertificate(made.Certificate[0])
	if err != nil {
		log.Fatal(err)
	}
	if err := s.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-9", Attestation: dpstest.ClientCertificates(leaf, nil),
	}); err != nil {
		log.Fatal(err)
	}

	dev := &provisioning.Device{
		IDScope: s.dps.IDScope(),
		Attestation: dps.X509{KeyPair: tls.Certificate{
			Certificate: made.Certificate,
			PrivateKey:  secureElement{key},
		}},
		Store:       &cache.Memory{},
		TLSConfig:   s.network.TLSConfig(),
		DialContext: s.network.DialContext,
	}
	err = dev.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
		return hub.Send(ctx, hubconn.Message{Body: []byte("signed in the chip")})
	})
	fmt.Println(err)
	// Output: <nil>
}

// SPDX-License-Identifier: Apache-2.0

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
	"log/slog"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/provisioning/fleet"
)

// Run calls the function for each connection, until the program ends. This one sends one message
// and returns, which ends Run.
func ExampleDevice_Run() {
	s := devicetest.New() // a simulation of DPS and two hubs, in memory
	defer s.Close()
	dev := &provisioning.Device{
		IDScope:     s.DPS.IDScope(),
		Attestation: s.Credential(devicetest.DeviceID), // a dps.SymmetricKey
		Store:       &cache.Memory{},                   // a cache.Dir on a device
		Logger:      slog.Default(),
		DialContext: s.Network.DialContext, // not needed with Azure
		TLSConfig:   s.Network.TLSConfig(), // not needed with Azure
	}
	err := dev.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
		fmt.Println("connected to", hub.Hub().Host)
		return hub.Send(ctx, hubconn.Message{Body: []byte(`{"temperature":21.5}`)})
	})
	fmt.Println(err)
	// Output:
	// connected to hub-a.azure-devices.net
	// <nil>
}

// A module runs beside its device, with a key of its own, and follows it from hub to hub.
func ExampleModule_Run() {
	s := devicetest.New()
	defer s.Close()
	ctx, stop := context.WithCancel(context.Background())
	connected := make(chan struct{}, 1)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		_ = s.Device.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
			connected <- struct{}{}
			<-ctx.Done() // a device does its work here
			return nil
		})
	})
	<-connected // somebody makes the module at the hub, and gives it a key
	key := s.Credential("camera")
	_ = s.Hub.PutModule(devicetest.DeviceID, hubtest.Module{ID: "camera", PrimaryKey: key.Key})

	camera := &provisioning.Module{Device: s.Device, ID: "camera", Credential: key}
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
	s := devicetest.New()
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	hub, err := s.Device.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = hub.Close() }()
	fmt.Println(hub.Send(ctx, hubconn.Message{Body: []byte("hello")}))
	// Output: <nil>
}

// A program with an MQTT client of its own needs to know where to connect to.
func ExampleDevice_Assignment() {
	s := devicetest.New()
	defer s.Close()
	a, err := s.Device.Assignment(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("mqtts://"+a.Hub+":8883", "client ID", a.DeviceID)
	// Output: mqtts://hub-a.azure-devices.net:8883 client ID sensor-042
}

// The operator has moved the device in DPS. A signal, a direct method or a desired property makes
// the program ask, and the session ends where the device has moved.
func ExampleDevice_Reprovision() {
	s := devicetest.New()
	defer s.Close()
	err := s.Device.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
		fmt.Println("at", hub.Hub().Host)
		if hub.Hub().Host == devicetest.OtherHubHost {
			return nil
		}
		if err := s.DPS.Move(devicetest.DeviceID, devicetest.OtherHubHost); err != nil {
			return err
		}
		// The session may end before the answer: DPS takes the device off its old hub.
		a, err := s.Device.Reprovision(context.WithoutCancel(ctx), "direct method")
		fmt.Println("assigned to", a.Hub, err)
		<-ctx.Done()
		return nil
	})
	fmt.Println(err)
	// Output:
	// at hub-a.azure-devices.net
	// assigned to hub-b.azure-devices.net <nil>
	// at hub-b.azure-devices.net
	// <nil>
}

// Status tells a person why a device is where it is.
func ExampleDevice_Status() {
	s := devicetest.New()
	defer s.Close()
	show := func(context.Context, *hubconn.Conn) error {
		is := s.Device.Status()
		fmt.Println(is.State, "to", is.Hub.Host, "from the", is.Source, is.Confirmed)
		return nil
	}
	_ = s.Device.Run(context.Background(), show)
	s.Device = s.Restart(devicetest.DeviceID) // what is remembered needs no DPS
	_ = s.Device.Run(context.Background(), show)
	fmt.Println(s.Device.Status().State)
	// Output:
	// connected to hub-a.azure-devices.net from the registration true
	// connected to hub-a.azure-devices.net from the store true
	// stopped
}

// Remembered shows what the store holds, for a diagnosis without any use of the network, and Forget
// is a factory reset: the next start registers.
func ExampleDevice_Remembered() {
	s := devicetest.New()
	defer s.Close()
	ctx := context.Background()
	_ = s.Device.Run(ctx, func(context.Context, *hubconn.Conn) error { return nil })

	dev := s.Restart(devicetest.DeviceID) // in another process, maybe
	r, err := dev.Remembered(ctx)
	fmt.Println("confirmed:", r.Confirmed.Hub, "next:", r.Next, err)
	if err := dev.Forget(ctx); err != nil {
		log.Fatal(err)
	}
	r, err = dev.Remembered(ctx)
	fmt.Println("confirmed:", r.Confirmed, "next:", r.Next, err)
	// Output:
	// confirmed: hub-a.azure-devices.net next: wait <nil>
	// confirmed: <nil> next: register <nil>
}

// A device whose store is lost asks DPS where it belongs, and registers nothing.
func ExampleTrace() {
	s := devicetest.New()
	defer s.Close()
	idle := func(context.Context, *hubconn.Conn) error { return nil }
	_ = s.Device.Run(context.Background(), idle)

	dev := s.Restart(devicetest.DeviceID)
	dev.Store = nil
	dev.Trace = &provisioning.Trace{
		Request: func(r provisioning.DPSRequest) { fmt.Println(r.Kind, "because:", r.Reason) },
		Assigned: func(a dps.Assignment, moved bool) {
			fmt.Println("belongs to", a.Hub, "moved:", moved)
		},
		Changed: func(s provisioning.Status) { fmt.Println(s.State) },
	}
	fmt.Println(dev.Run(context.Background(), idle))
	// Output:
	// lookup because: no usable store
	// looking-up
	// belongs to hub-a.azure-devices.net moved: true
	// connecting
	// connected
	// stopped
	// <nil>
}

// The private key of a certificate may be any crypto.Signer: of a TPM, an HSM, a secure element.
func ExampleDevice_x509() {
	s := devicetest.New()
	defer s.Close()
	type secureElement struct{ crypto.Signer } // signs with a key that never leaves it
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	made := s.Network.CA().DeviceFor("sensor-9", key) // at the factory
	leaf, err := x509.ParseCertificate(made.Certificate[0])
	if err != nil {
		log.Fatal(err)
	}
	if err := s.DPS.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-9", Attestation: dpstest.ClientCertificates(leaf, nil),
		IoTHubs: []string{devicetest.HubHost}, AllocationPolicy: dpstest.PolicyStatic,
	}); err != nil {
		log.Fatal(err)
	}

	dev := s.Device
	dev.Attestation = dps.X509{KeyPair: tls.Certificate{
		Certificate: made.Certificate, PrivateKey: secureElement{key},
	}}
	err = dev.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
		return hub.Send(ctx, hubconn.Message{Body: []byte("signed in the chip")})
	})
	fmt.Println(err, "from", s.Hub.Messages()[0].DeviceID)
	// Output: <nil> from sensor-9
}

// A gateway connects many devices, each with an identity, a store and a connection of its own. They
// share a Budget: what DPS or a hub tells one of them holds for all. fleet.Fleet runs them besides.
func ExampleDevice_gateway() {
	s := devicetest.New()
	defer s.Close()
	var devices sync.WaitGroup
	budget := &fleet.Budget{}
	for _, id := range []string{"hall", "kitchen", "cellar"} {
		dev := s.Enroll(id)
		dev.Budget = budget
		devices.Go(func() {
			_ = dev.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
				return hub.Send(ctx, hubconn.Message{Body: []byte("from " + id)})
			})
		})
	}
	devices.Wait()
	for _, m := range s.Hub.Messages() {
		fmt.Println(m.DeviceID, "sent", string(m.Body))
	}
	// Unordered output:
	// hall sent from hall
	// kitchen sent from kitchen
	// cellar sent from cellar
}

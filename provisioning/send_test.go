// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"fmt"
	"log"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestABatchGoesAsAWholeThroughAllTroubles(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.a.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 429, ErrorCode: "ThrottlingException", RetryAfter: "30",
		})
		r.a.Inject(hubtest.Fault{On: hubtest.Send, Status: 500, ErrorCode: "ServerError"})
		r.a.Inject(hubtest.Fault{On: hubtest.Send, Cut: true})
		var batch []hubconn.Message
		for i := range 50 {
			batch = append(batch, hubconn.Message{
				Body: fmt.Append(nil, i), MessageID: fmt.Sprint("m", i),
				Properties: map[string]string{"n": fmt.Sprint(i)},
			})
		}
		require.NoError(t, r.send(r.device(), 10*time.Minute, batch...))
		got := r.a.Messages()
		require.Len(t, got, len(batch))
		for i, m := range got {
			require.Equal(t, fmt.Sprint(i), string(m.Body))
			require.Equal(t, fmt.Sprint("m", i), m.System["$.mid"])
			require.Equal(t, map[string]string{"n": fmt.Sprint(i)}, m.Properties)
		}
		require.Len(t, r.posts(r.a), 4)
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestAMessageWhoseAnswerIsLostIsSentAgain(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.a.Inject(hubtest.Fault{On: hubtest.Send, Cut: true, Stored: true})
		require.NoError(t, r.wake(time.Minute))
		got := r.a.Messages()
		require.Len(t, got, 2, "at least once")
		require.Equal(t, got[0].System["$.mid"], got[1].System["$.mid"])
	})
}

func TestReceiveCompleteAbandonReject(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		ctx, dev := context.Background(), r.device()
		receive := func() *hubconn.Delivery {
			t.Helper()
			d, err := dev.Receive(ctx)
			require.NoError(t, err)
			return d
		}
		require.Nil(t, receive(), "nothing waits")
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.NoError(t, r.a.SendC2D(rigID, hubtest.C2D{
			Body: []byte("open"), MessageID: "c-1", Properties: map[string]string{"valve": "3"},
		}))
		d := receive()
		require.Equal(t, "open", string(d.Body))
		require.Equal(t, "c-1", d.MessageID)
		require.Equal(t, map[string]string{"valve": "3"}, d.Properties)
		require.Nil(t, receive(), "it is locked")
		require.NoError(t, d.Abandon(ctx))
		d = receive()
		require.Equal(t, 1, d.DeliveryCount)
		require.NoError(t, d.Complete(ctx))
		require.Nil(t, receive())

		require.NoError(t, r.a.SendC2D(rigID, hubtest.C2D{Body: []byte("explode")}))
		require.NoError(t, receive().Reject(ctx))
		settled := r.a.SettledC2D()
		require.Len(t, settled, 2)
		require.Equal(t, hubtest.OutcomeSuccess, settled[0].Outcome)
		require.Equal(t, hubtest.OutcomeRejected, settled[1].Outcome)

		require.NoError(t, r.a.SendC2D(rigID, hubtest.C2D{Body: []byte("late")}))
		d = receive()
		time.Sleep(2 * time.Minute)
		require.Equal(t, hubconn.Caller, hubconn.ClassOf(d.Complete(ctx)), "the lock has run out")
		require.Equal(t, "late", string(receive().Body), "it comes again")
		require.Equal(t, 1, r.asked(dpstest.Register, dpstest.Lookup, dpstest.Clock))
		r.noConnection()
	})
}

func TestReceiveFollowsTheRulesToo(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.warmed()
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		r.dps.ResetLog()
		require.NoError(t, r.b.SendC2D(rigID, hubtest.C2D{Body: []byte("hello at the new place")}))
		r.b.Inject(hubtest.Fault{
			On: hubtest.Receive, Status: 429, ErrorCode: "ThrottlingException", RetryAfter: "120",
		})
		d, err := r.device().Receive(context.Background())
		require.NoError(t, err)
		require.Equal(t, "hello at the new place", string(d.Body))
		between(t, 2*time.Minute, 2*time.Minute+20*time.Second, r.elapsed())
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.a.Inject(hubtest.Fault{On: hubtest.Receive, Status: 400, ErrorCode: "ArgumentInvalid"})
		d, err := r.device().Receive(context.Background())
		require.Nil(t, d)
		require.Equal(t, hubconn.Caller, hubconn.ClassOf(err))
		require.Zero(t, r.asked())
	})
}

func TestSendersTakeTurns(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		dev := r.device()
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				if i%4 == 0 {
					_, err := dev.Receive(context.Background())
					assert.NoError(t, err)
					return
				}
				assert.NoError(
					t, dev.Send(context.Background(), hubconn.Message{Body: fmt.Append(nil, i)}),
				)
			})
		}
		all.Wait()
		require.Len(t, r.a.Messages(), 15)
		require.Equal(
			t, 1, r.asked(dpstest.Register, dpstest.Lookup), "one registration serves all",
		)

		// One that waits for its turn gives up by its own ctx.
		r.a.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 429, ErrorCode: "ThrottlingException", RetryAfter: "600",
		})
		all.Go(func() { assert.NoError(t, dev.Send(context.Background(), reading)) })
		time.Sleep(time.Second)
		before := r.elapsed()
		require.ErrorIs(t, r.send(dev, time.Minute, reading), errSlept)
		require.Equal(t, time.Minute, r.elapsed()-before)
		all.Wait()
	})
}

func TestWhileConnectedTheConnectionSends(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		ctx, dev := context.Background(), r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		require.ErrorIs(t, dev.Send(ctx, reading), provisioning.ErrRunning)
		_, err := dev.Receive(ctx)
		require.ErrorIs(t, err, provisioning.ErrRunning)
		stop()

		conn, err := dev.Connect(ctx)
		require.NoError(t, err)
		require.ErrorIs(t, dev.Send(ctx, reading), provisioning.ErrRunning)
		require.NoError(t, conn.Context().Err())
		require.NoError(t, conn.Close())
		require.NoError(t, dev.Send(ctx, reading))

		// And while a message is on its way, or waits for the hub, nothing connects.
		r.a.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 429, ErrorCode: "ThrottlingException", RetryAfter: "600",
		})
		sent := make(chan error, 1)
		go func() { sent <- dev.Send(ctx, reading) }()
		time.Sleep(time.Second)
		require.ErrorIs(t, dev.Run(ctx, r.session), provisioning.ErrRunning)
		_, err = dev.Connect(ctx)
		require.ErrorIs(t, err, provisioning.ErrRunning)
		require.NoError(t, <-sent)

		r.reset()
		stop = r.run(dev)
		r.await(0, time.Second)
		stop()
		require.Zero(t, r.asked())
	})
}

func TestReprovisionWhileASendWaits(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.a.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 503, ErrorCode: "ServiceUnavailable", Times: always,
		})
		require.NoError(t, r.dps.Move(rigID, hubB))
		dev := r.device()
		sent := make(chan error, 1)
		go func() { sent <- r.send(dev, time.Hour, reading) }()
		time.Sleep(time.Minute)
		a, err := dev.Reprovision(context.Background(), "test")
		require.NoError(t, err)
		require.Equal(t, hubB, a.Hub)
		require.NoError(t, <-sent)
		require.Len(t, r.b.Messages(), 1)
		require.Equal(t, 1, r.asked(dpstest.Register))
		got, err := dev.Assignment(context.Background())
		require.NoError(t, err)
		require.Equal(t, hubB, got.Hub)
	})
}

func TestForgetWhileASendWaitsSendsItAsIfForTheFirstTime(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.a.Inject(hubtest.Fault{On: hubtest.Send, NoAnswer: true})
		dev := r.device()
		sent := make(chan error, 1)
		go func() { sent <- r.send(dev, time.Hour, reading) }()
		time.Sleep(10 * time.Second)
		require.NoError(t, dev.Forget(context.Background()))
		require.NoError(t, <-sent)
		require.Less(t, r.elapsed(), time.Minute)
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestAWrongFieldIsToldBeforeAnythingIsSent(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		for _, id := range []string{
			"com:example:thermostat;1", "dtmi:com:example:thermostat", "dtmi:;1", "dtmi:com::a;1",
			"dtmi:com:1a;1", "dtmi:com:a_;1", "dtmi:com:a;0", "dtmi:com:a;01", "dtmi:com:a;1.",
			"dtmi:com:a;1.2.3", "dtmi:com:a b;1", "dtmi:com:é;1", "dtmi:com:a;1;2",
			"dtmi:com:a;1234567890", "dtmi:com:" + string(make([]byte, 10)) + ";1",
			"dtmi:com:a\n;1",
		} {
			dev := r.device()
			dev.ModelID = id
			err := r.send(dev, time.Minute, reading)
			require.ErrorContains(t, err, "model id", id)
			require.NotContains(t, err.Error(), "\n")
		}
		require.Zero(t, r.asked())
		require.Zero(t, r.network.Dials(hubA))
	})
}

func TestTheModelIsAnnouncedToHubAndDPS(t *testing.T) {
	const model = "dtmi:com:example:Thermostat;2"
	connect := func(t *testing.T, r *rig, dev *provisioning.Device) string {
		t.Helper()
		dev.Store = &cache.Memory{}
		conn, err := dev.Connect(context.Background())
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		at := r.a.Attempts()
		return at[len(at)-1].ModelID
	}
	for _, w := range append(allWirings, wiring{dps: dps.MQTT, ws: true}) {
		each(t, []wiring{w}, func(t *testing.T, r *rig) {
			var payloads []string
			r.watchPayloads(func(payload string) { payloads = append(payloads, payload) })
			connect := func(t *testing.T, r *rig, dev *provisioning.Device) string {
				t.Helper()
				payloads = nil
				return connect(t, r, dev)
			}
			for _, id := range []string{model, "dtmi:a;1", "dtmi:com:example:Thermostat;1.0"} {
				dev := r.device()
				dev.ModelID = id
				require.Equal(t, id, connect(t, r, dev))
				require.Equal(t, []string{`{"modelId":"` + id + `"}`}, payloads)
			}
			dev := r.device()
			dev.ModelID, dev.Payload = model, map[string]int{"own": 1}
			require.Equal(t, model, connect(t, r, dev))
			require.Equal(
				t, []string{`{"own":1}`}, payloads, "the program's own payload goes first",
			)

			dev = r.device()
			dev.ModelID, dev.Hub.ModelID = model, "dtmi:com:example:Other;1"
			require.Equal(t, "dtmi:com:example:Other;1", connect(t, r, dev))

			require.Empty(t, connect(t, r, r.device()))
			require.Equal(t, []string{""}, payloads)
		})
	}
}

// watchPayloads makes the device's enrollment one with an allocation of its own, which sees what
// devices send.
func (r *rig) watchPayloads(seen func(payload string)) {
	r.t.Helper()
	r.dps = dpstest.New(r.network, dpstest.Config{
		Allocate: func(_ context.Context, a dpstest.Allocation) (dpstest.Allocated, error) {
			seen(string(a.Payload))
			return dpstest.Allocated{Hub: hubA}, nil
		},
	})
	r.dps.Link(r.a, r.b, r.c)
	r.enroll(hubA)
	e, ok := r.dps.Enrollment(rigID)
	require.True(r.t, ok)
	e.AllocationPolicy, e.IoTHubs = dpstest.PolicyCustom, nil
	e.ETag = ""
	require.NoError(r.t, r.dps.Enroll(e))
}

// A device that runs on a battery: it wakes, sends what it has measured, looks for orders, and
// sleeps. Where it belongs is remembered in the store: the second time it asks DPS nothing.
func ExampleDevice_Send() {
	// The services, simulated in memory.
	network := simnet.New()
	defer func() { _ = network.Close() }()
	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
	service := dpstest.New(network, dpstest.Config{RetryAfter: time.Second})
	service.Link(hub)
	key := "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	if err := service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-042", Attestation: dpstest.Keys(key, ""),
	}); err != nil {
		log.Fatal(err)
	}
	var flash cache.Memory // a cache.Dir on a device

	wake := func(readings ...hubconn.Message) {
		dev := &provisioning.Device{
			IDScope:     service.IDScope(),
			Attestation: dps.SymmetricKey{ID: "sensor-042", Key: key},
			Store:       &flash,
			TLSConfig:   network.TLSConfig(), // not needed with Azure
			DialContext: network.DialContext, // not needed with Azure
		}
		// as long as the battery allows
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := dev.Send(ctx, readings...); err != nil {
			log.Fatal(err)
		}
	}
	wake(hubconn.Message{Body: []byte("21.5"), MessageID: "1"})
	wake(hubconn.Message{Body: []byte("21.6"), MessageID: "2"}, hubconn.Message{
		Body: []byte("21.8"), MessageID: "3",
	})

	for _, m := range hub.Messages() {
		fmt.Println(m.DeviceID, m.System["$.mid"], string(m.Body))
	}
	fmt.Println(
		"registrations:", service.Count(dpstest.Register), "connections:", len(hub.Attempts()),
	)
	// Output:
	// sensor-042 1 21.5
	// sensor-042 2 21.6
	// sensor-042 3 21.8
	// registrations: 1 connections: 0
}

// Orders that wait at the hub are fetched one by one, each under a lock until the program is done
// with it.
func ExampleDevice_Receive() {
	s := devicetest.New()
	defer s.Close()
	ctx, dev := context.Background(), s.Device
	if err := dev.Send(ctx, hubconn.Message{Body: []byte("hello")}); err != nil {
		log.Fatal(err)
	}
	for _, order := range []string{"measure hourly", "make coffee"} { // the back end
		if err := s.Hub.SendC2D(dev.Attestation.RegistrationID(), hubtest.C2D{
			Body: []byte(order),
		}); err != nil {
			log.Fatal(err)
		}
	}

	for {
		order, err := dev.Receive(ctx)
		if err != nil {
			log.Fatal(err)
		}
		if order == nil {
			break
		}
		if string(order.Body) == "make coffee" {
			err = order.Reject(ctx)
		} else {
			err = order.Complete(ctx)
		}
		fmt.Printf("%s: done with: %v\n", order.Body, err == nil)
	}
	// Output:
	// measure hourly: done with: true
	// make coffee: done with: true
}

// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const key = "Y2FuYXJ5LWtleS1vZi1hLWtpdGNoZW4tMDAwMDAwMDE="

// world is a simulator in memory, and a console beside it that looks when it is told.
type world struct {
	*Server
	network *simnet.Network
	dps     *dpstest.Server
	a, b    *hubtest.Hub
	steps   []string // that were carried out
	refuse  error    // what the next ones are refused with
}

func newWorld(t testing.TB) *world {
	n := simnet.ForTest(t)
	w := &world{
		network: n, a: hubtest.NewHub(n, "hub-a.net"), b: hubtest.NewHub(n, "hub-b.net"),
		dps: dpstest.New(n, dpstest.Config{RegistrationsPerMinute: -1}),
	}
	w.dps.Link(w.a, w.b)
	w.Server = &Server{sim: Simulator{
		Network: n, DPS: w.dps, Hubs: []*hubtest.Hub{w.a, w.b}, Log: slog.New(slog.DiscardHandler),
		Do: func(step json.RawMessage) error {
			if w.refuse != nil {
				return w.refuse
			}
			w.steps = append(w.steps, string(step))
			return nil
		},
		Load: func(json.RawMessage) (func(context.Context), error) {
			return func(ctx context.Context) { <-ctx.Done() }, nil
		},
	}}
	w.ctx, w.end = context.WithCancelCause(context.Background())
	t.Cleanup(func() {
		w.end(errClosed)
		w.tasks.Wait()
	})
	return w
}

// enroll lets a device register, at one hub.
func (w *world) enroll(t testing.TB, id, hub string) {
	require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: id, Attestation: dpstest.Keys(key, ""),
		AllocationPolicy: dpstest.PolicyStatic, IoTHubs: []string{hub},
	}))
}

func (w *world) register(t testing.TB, id string) (dps.Assignment, error) {
	c := &dps.Client{
		IDScope: w.dps.IDScope(), Attestation: dps.SymmetricKey{ID: id, Key: key},
		DialContext: w.network.DialContext, TLSConfig: w.network.TLSConfig(),
	}
	return c.Register(t.Context(), dps.Registration{})
}

func (w *world) connect(t testing.TB, hub, id string) (*hubconn.Conn, error) {
	d := &hubconn.Dialer{DialContext: w.network.DialContext, TLSConfig: w.network.TLSConfig()}
	return d.Dial(
		t.Context(), hubconn.Hub{Host: hub, DeviceID: id}, dps.SymmetricKey{ID: id, Key: key},
	)
}

func BenchmarkLook(b *testing.B) {
	w := newWorld(b)
	require.NoError(b, w.dps.EnrollGroup(dpstest.EnrollmentGroup{EnrollmentGroupID: "g"}))
	for i := range 2000 {
		require.NoError(b, w.a.Put(hubtest.Device{ID: fmt.Sprintf("device-%04d", i)}))
	}
	w.look()
	for b.Loop() {
		w.look()
	}
}

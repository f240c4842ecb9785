// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

const (
	deviceID = "sensor-042"
	hubHost  = "hub-a.azure-devices.net"
	dpsHost  = dpstest.GlobalEndpoint

	// between is how long DPS has a client wait between two requests.
	between = 10 * time.Second
)

var deviceKey = base64.StdEncoding.EncodeToString([]byte("canary-reliability-0123456789-key"))

// world is DPS and a hub, the clients under test, and the way between them.
type world struct {
	*testing.T
	network *simnet.Network
	hub     *hubtest.Hub
	service *dpstest.Server
	way     *way

	client *dps.Client
	dialer *hubconn.Dialer
	conn   *hubconn.Conn // nil: the operation needs none, or makes it
}

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

// newWorld makes a world for an operation. It has to be closed before its bubble ends.
func newWorld(t *testing.T, o *operation) *world {
	network := simnet.New()
	w := &world{T: t, network: network, hub: hubtest.NewHub(network, hubHost)}
	w.service = dpstest.New(network, dpstest.Config{
		RetryAfter: between, RegistrationsPerMinute: -1, PollsPer10s: -1,
	})
	w.service.Link(w.hub)
	require.NoError(t, w.service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: deviceID, Attestation: dpstest.Keys(deviceKey, ""),
	}))
	host := map[peer]string{toDPS: dpsHost, toHub: hubHost, toStorage: w.hub.BlobHost()}[o.peer]
	w.way = newWay(network, host, o.at)
	tls := network.TLSConfig()
	w.client = &dps.Client{
		IDScope: w.service.IDScope(), Attestation: w.key(), Transport: o.dps,
		DialContext: w.way.DialContext, TLSConfig: tls, Proxy: noProxy,
	}
	w.dialer = &hubconn.Dialer{
		DialContext: w.way.DialContext, TLSConfig: tls, Proxy: noProxy, Transport: o.hub,
	}
	return w
}

// key is who the device is.
func (w *world) key() dps.SymmetricKey { return dps.SymmetricKey{ID: deviceID, Key: deviceKey} }

func (w *world) close() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
	require.NoError(w, w.network.Close())
	w.way.close()
}

// at is the device's identity at its hub.
func (w *world) at() hubconn.Hub { return hubconn.Hub{Host: hubHost, DeviceID: deviceID} }

// admit makes the device known to the hub, without a registration.
func (w *world) admit() {
	if slices.Contains(w.hub.Devices(), deviceID) {
		return
	}
	require.NoError(w, w.hub.Put(hubtest.Device{ID: deviceID, PrimaryKey: deviceKey}))
}

// dial connects to the hub.
func (w *world) dial(ctx context.Context) error {
	w.admit()
	conn, err := w.dialer.Dial(ctx, w.at(), w.key())
	if err == nil {
		w.conn = conn
	}
	return err
}

// connected has a connection to the hub, the one there is or another.
func (w *world) connected() error {
	if w.conn != nil && w.conn.Context().Err() == nil {
		return nil
	}
	return w.dial(w.Context())
}

// classOf is the class of an error of either client.
func classOf(err error) retry.Class {
	failure, ok := errors.AsType[*dps.Error](err)
	switch {
	case !ok || hubconn.ClassOf(failure.Err) == hubconn.Untrusted:
		return hubconn.ClassOf(err)
	case failure.Status == http.StatusTooManyRequests:
		return retry.Throttled
	case failure.Status >= 500 || failure.ReturnCode == 3:
		return retry.Server
	case retry.Classify(err) == retry.Stop:
		return retry.Rejected
	}
	return retry.Unreachable
}

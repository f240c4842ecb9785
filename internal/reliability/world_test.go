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

	who      dps.Attestation // to DPS
	policy   string          // by which the hub issues certificates to the device; "": it does not
	csr      []byte          // that the device asks for one with
	client   *dps.Client
	dialer   *hubconn.Dialer
	conn     *hubconn.Conn     // nil: the operation needs none, or makes it
	delivery *hubconn.Delivery // that is to be completed
}

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

// newWorld makes a world for an operation. It has to be closed before its bubble ends.
func newWorld(t *testing.T, o *operation) *world {
	network := simnet.New()
	w := &world{T: t, network: network, hub: hubtest.NewHub(network, hubHost)}
	w.who = w.key()
	w.service = dpstest.New(network, dpstest.Config{
		RetryAfter: between, RegistrationsPerMinute: -1, PollsPer10s: -1,
	})
	w.service.Link(w.hub)
	enrollment := dpstest.IndividualEnrollment{
		RegistrationID: deviceID, Attestation: dpstest.Keys(deviceKey, ""),
	}
	if o.enrolled != nil {
		o.enrolled(w, &enrollment)
	}
	require.NoError(t, w.service.Enroll(enrollment))
	host := map[peer]string{toDPS: dpsHost, toHub: hubHost, toStorage: w.hub.BlobHost()}[o.peer]
	w.way = newWay(network, host, o.at)
	tls := network.TLSConfig()
	w.client = &dps.Client{
		IDScope: w.service.IDScope(), Attestation: w.who, Transport: o.dps,
		DialContext: w.way.DialContext, TLSConfig: tls, Proxy: noProxy,
	}
	w.dialer = &hubconn.Dialer{
		DialContext: w.way.DialContext, TLSConfig: tls, Proxy: noProxy, Transport: o.hub,
		APIVersion: o.version,
	}
	return w
}

// key is who the device is to its hub, and to DPS unless the operation has it otherwise.
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
	require.NoError(w, w.hub.Put(hubtest.Device{
		ID: deviceID, PrimaryKey: deviceKey, CertificatePolicy: w.policy,
	}))
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

// classOf is what the library says of an error of either client. One of DPS has no class but that
// of what crypto/tls says in it; of any other the library knows whether the service has answered
// itself, which is to an error of DPS what Server and Unreachable are to one of a hub.
func classOf(err error) retry.Class {
	class := hubconn.ClassOf(err)
	failure, ok := errors.AsType[*dps.Error](err)
	if ok && class == hubconn.Unreachable && failure.Answered() {
		return retry.Server
	}
	return class
}

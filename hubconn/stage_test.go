// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/sas"
)

const host = "contoso.azure-devices.net"

// sasKey is a credential that signs tokens.
type sasKey []byte

func (sasKey) Certificate(context.Context) (*tls.Certificate, error) { return nil, nil }

func (k sasKey) Token(_ context.Context, resource string, expiry time.Time) (string, error) {
	return sas.Token(resource, k, expiry), nil
}

// clientCert is a credential that is a certificate.
type clientCert struct{ chain tls.Certificate }

func (c clientCert) Certificate(context.Context) (*tls.Certificate, error) { return &c.chain, nil }

func (clientCert) Token(context.Context, string, time.Time) (string, error) { return "", nil }

// stage is a hub with one device, and a dialer that reaches it.
type stage struct {
	*testing.T
	network *simnet.Network
	hub     *hubtest.Hub
	at      hubconn.Hub
	key     sasKey
	dialer  *hubconn.Dialer
	mqtt    bool
}

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

func newStage(t *testing.T, n *simnet.Network, transport hubconn.Transport) *stage {
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	s := &stage{
		T: t, network: n, hub: hubtest.NewHub(n, host),
		at: hubconn.Hub{Host: host, DeviceID: "dev1"}, key: sasKey("0123456789abcdef"),
		mqtt: transport == hubconn.MQTT,
	}
	require.NoError(t, s.hub.Put(
		hubtest.Device{ID: "dev1", PrimaryKey: base64.StdEncoding.EncodeToString(s.key)},
	))
	s.dialer = &hubconn.Dialer{
		DialContext: n.DialContext, TLSConfig: n.TLSConfig(), Proxy: noProxy,
		Transport: transport,
	}
	return s
}

// transports are those that a Dialer can be given.
var transports = []hubconn.Transport{hubconn.MQTT, hubconn.MQTTWebSocket}

// play runs a scene in a bubble, once over each transport.
func play(t *testing.T, scene func(*stage)) {
	t.Helper()
	for _, transport := range transports {
		t.Run(transport.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { scene(newStage(t, simnet.New(), transport)) })
		})
	}
}

// playEverywhere runs a scene in a bubble and on loopback sockets, over each transport. It must not
// depend on hours going by.
func playEverywhere(t *testing.T, scene func(*stage)) {
	t.Helper()
	play(t, scene)
	for _, transport := range transports {
		t.Run(transport.String()+" on sockets", func(t *testing.T) {
			network, err := simnet.Listen(simnet.ListenConfig{})
			require.NoError(t, err)
			scene(newStage(t, network, transport))
		})
	}
}

// becomesModule makes the stage's identity a module of its device.
func (s *stage) becomesModule() {
	s.at.ModuleID = "mod1"
	require.NoError(s, s.hub.PutModule(
		"dev1", hubtest.Module{ID: "mod1", PrimaryKey: base64.StdEncoding.EncodeToString(s.key)},
	))
}

// id is the stage's identity as the back end calls it.
func (s *stage) id() string {
	if s.at.ModuleID != "" {
		return "dev1/mod1"
	}
	return "dev1"
}

// accepted is how many links the hub has let in.
func (s *stage) accepted() (n int) {
	for _, a := range s.hub.Attempts() {
		if a.Accepted() {
			n++
		}
	}
	return n
}

// eventually waits for what another goroutine brings about.
func (s *stage) eventually(what string, done func() bool) {
	s.Helper()
	for range 2000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	require.Fail(s, "never: "+what)
}

func (s *stage) dial() (*hubconn.Conn, error) { return s.dialer.Dial(s.Context(), s.at, s.key) }

// connect dials, and closes the connection when the test ends.
func (s *stage) connect() *hubconn.Conn {
	s.Helper()
	conn, err := s.dial()
	require.NoError(s, err)
	s.Cleanup(func() { _ = conn.Close() })
	return conn
}

// fails dials in vain.
func (s *stage) fails(class hubconn.Class) *hubconn.Error {
	s.Helper()
	_, err := s.dial()
	return s.is(err, class)
}

// is checks that an error is the package's, of a class.
func (s *stage) is(err error, class hubconn.Class) *hubconn.Error {
	s.Helper()
	e, ok := errors.AsType[*hubconn.Error](err)
	require.True(s, ok, "%v", err)
	require.Equal(s, class, e.Class, "%v", err)
	require.Equal(s, class, hubconn.ClassOf(err))
	require.Equal(s, s.at, e.Hub)
	require.NotContains(s, err.Error(), "\n")
	require.NotContains(s, err.Error(), "SharedAccessSignature")
	require.NotContains(s, err.Error(), base64.StdEncoding.EncodeToString(s.key))
	return e
}

// ended waits for the connection's end and checks the class of its cause.
func (s *stage) ended(conn *hubconn.Conn, class hubconn.Class) *hubconn.Error {
	s.Helper()
	<-conn.Context().Done()
	return s.is(context.Cause(conn.Context()), class)
}

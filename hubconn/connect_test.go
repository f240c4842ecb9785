// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/retry"
)

func TestConnectWithASharedAccessKey(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		assert.Equal(s, s.at, conn.Hub())
		assert.True(s, s.hub.Connected("dev1"))
		stats := conn.Stats()
		assert.Positive(s, stats.BytesSent)
		assert.Positive(s, stats.BytesReceived)
		stats.BytesSent, stats.BytesReceived = 0, 0
		assert.Equal(s, hubconn.Stats{Since: time.Now()}, stats)
		require.NoError(s, conn.Send(s.Context(), hubconn.Message{Body: []byte("hello")}))
		assert.EqualValues(s, 1, conn.Stats().Responses)
		message := s.hub.Messages()[0]
		assert.Equal(s, "hello", string(message.Body))
		assert.Equal(s, s.mqtt, message.Transport == "mqtt")
		require.NoError(s, conn.Close())
		synctest.Wait()
		assert.False(s, s.hub.Connected("dev1"))
	})
}

func TestConnectWithACertificate(t *testing.T) {
	play(t, func(s *stage) {
		// The hub knows devices by thumbprint and does not list their authority.
		cert := simnet.NewCA("another authority", time.Now()).Intermediate("plant 1").Device("dev2")
		require.NoError(s, s.hub.Put(
			hubtest.Device{ID: "dev2", PrimaryThumbprint: hubtest.Thumbprint(cert.Leaf)},
		))
		s.at.DeviceID = "dev2"
		conn, err := s.dialer.Dial(s.Context(), s.at, clientCert{cert})
		require.NoError(s, err)
		defer conn.Close()
		require.NoError(s, conn.Send(s.Context(), hubconn.Message{Body: []byte("hello")}))
		assert.Equal(s, "dev2", s.hub.Messages()[0].DeviceID)

		// Nothing to renew: no token.
		time.Sleep(48 * time.Hour)
		assert.NoError(s, conn.Context().Err())
		assert.Len(s, s.hub.Attempts(), 1)
	})
}

func TestBadCredentialsAreRejected(t *testing.T) {
	play(t, func(s *stage) {
		known, other := s.network.CA().Device("dev2"), s.network.CA().Device("dev2")
		require.NoError(s, s.hub.Put(
			hubtest.Device{ID: "dev2", PrimaryThumbprint: hubtest.Thumbprint(known.Leaf)},
		))
		for name, try := range map[string]func() (*hubconn.Conn, error){
			"wrong key":      func() (*hubconn.Conn, error) { return s.dialer.Dial(s.Context(), s.at, sasKey("another key")) },
			"unknown device": func() (*hubconn.Conn, error) { s.at.DeviceID = "dev3"; return s.dial() },
			"key for X.509":  func() (*hubconn.Conn, error) { s.at.DeviceID = "dev2"; return s.dial() },
			"wrong certificate": func() (*hubconn.Conn, error) {
				s.at.DeviceID = "dev2"
				return s.dialer.Dial(s.Context(), s.at, clientCert{other})
			},
			"certificate of another": func() (*hubconn.Conn, error) {
				s.at.DeviceID = "dev1"
				return s.dialer.Dial(s.Context(), s.at, clientCert{known})
			},
		} {
			_, err := try()
			e := s.is(err, hubconn.Rejected)
			assert.EqualValues(s, 5, e.ReturnCode, name)
			assert.Equal(s, "connect", e.Op, name)
			assert.Equal(s, retry.Register, retry.Classify(fmt.Errorf("wrapped: %w", err)), name)
			assert.Zero(s, retry.After(err), name)
			s.at.DeviceID = "dev1"
		}
		s.hub.Disable("dev1")
		s.fails(hubconn.Rejected)
		s.hub.Enable("dev1")
		require.NoError(s, s.connect().Close())
		s.hub.Delete("dev1")
		s.fails(hubconn.Rejected)
	})
}

// The token's life is counted from the corrected clock, when there is one: the system's may be
// in 1970.
func TestTheTokenFollowsTheClockOfTheTLSConfiguration(t *testing.T) {
	play(t, func(s *stage) {
		s.network.SetClockOffset(10 * 365 * 24 * time.Hour)
		s.dialer.TLSConfig.Time = s.network.Now
		s.connect()
		s.dialer.TLSConfig.Time = func() time.Time { return s.network.Now().Add(-64 * time.Minute) }
		require.NoError(s, s.connect().Close(), "5 minutes of grace")
		s.dialer.TLSConfig.Time = func() time.Time { return s.network.Now().Add(-66 * time.Minute) }
		s.fails(hubconn.Rejected)
	})
}

type credential struct {
	certificate func(context.Context) (*tls.Certificate, error)
	token       func(context.Context, string, time.Time) (string, error)
}

func (c credential) Certificate(ctx context.Context) (*tls.Certificate, error) {
	return c.certificate(ctx)
}
func (c credential) Token(ctx context.Context, resource string, expiry time.Time) (string, error) {
	return c.token(ctx, resource, expiry)
}

func TestTheCredentialIsAskedBeforeTheNetwork(t *testing.T) {
	play(t, func(s *stage) {
		broken := errors.New("the TPM is busy")
		none := func(context.Context) (*tls.Certificate, error) { return nil, nil }
		for name, c := range map[string]credential{
			"certificate fails": {func(context.Context) (*tls.Certificate, error) { return nil, broken }, nil},
			"token fails":       {none, func(context.Context, string, time.Time) (string, error) { return "", broken }},
			"neither":           {none, func(context.Context, string, time.Time) (string, error) { return "", nil }},
		} {
			_, err := s.dialer.Dial(s.Context(), s.at, c)
			s.is(err, hubconn.Unreachable)
			if name != "neither" {
				assert.ErrorIs(s, err, broken, name)
			}
		}
		assert.Zero(s, s.network.Dials(host))

		asked := false
		_, err := s.dialer.Dial(s.Context(), s.at, credential{
			none, func(_ context.Context, resource string, expiry time.Time) (string, error) {
				asked = true
				assert.Equal(s, host+"/devices/dev1", resource)
				assert.Equal(s, time.Now().Add(time.Hour), expiry)
				return s.key.Token(s.Context(), resource, expiry)
			},
		})
		require.NoError(s, err)
		assert.True(s, asked)
	})
}

func TestAHubOrDialerThatCannotBeRightIsTheCallersFault(t *testing.T) {
	good := hubconn.Hub{Host: host, DeviceID: "dev1"}
	for name, try := range map[string]struct {
		hub        hubconn.Hub
		dialer     hubconn.Dialer
		credential hubconn.Credential
	}{
		"no host":                   {hub: hubconn.Hub{DeviceID: "dev1"}},
		"no device ID":              {hub: hubconn.Hub{Host: host}},
		"host with scheme":          {hub: hubconn.Hub{Host: "https://" + host, DeviceID: "dev1"}},
		"host with port":            {hub: hubconn.Hub{Host: host + ":8883", DeviceID: "dev1"}},
		"host with path":            {hub: hubconn.Hub{Host: host + "/devices", DeviceID: "dev1"}},
		"host with user":            {hub: hubconn.Hub{Host: "user@" + host, DeviceID: "dev1"}},
		"host with space":           {hub: hubconn.Hub{Host: "contoso azure", DeviceID: "dev1"}},
		"host with line feed":       {hub: hubconn.Hub{Host: host + "\r\nX: y", DeviceID: "dev1"}},
		"host with query":           {hub: hubconn.Hub{Host: host + "?x", DeviceID: "dev1"}},
		"host with empty part":      {hub: hubconn.Hub{Host: "contoso..net", DeviceID: "dev1"}},
		"host ends in a dot":        {hub: hubconn.Hub{Host: host + ".", DeviceID: "dev1"}},
		"host of hyphens":           {hub: hubconn.Hub{Host: "-contoso.net", DeviceID: "dev1"}},
		"host too long":             {hub: hubconn.Hub{Host: strings.Repeat("abcdefgh.", 30) + "net", DeviceID: "dev1"}},
		"label too long":            {hub: hubconn.Hub{Host: strings.Repeat("a", 64) + ".net", DeviceID: "dev1"}},
		"device with slash":         {hub: hubconn.Hub{Host: host, DeviceID: "dev1/modules/m"}},
		"device with plus":          {hub: hubconn.Hub{Host: host, DeviceID: "dev+"}},
		"device with hash":          {hub: hubconn.Hub{Host: host, DeviceID: "#"}},
		"device with NUL":           {hub: hubconn.Hub{Host: host, DeviceID: "dev\x00"}},
		"device not ASCII":          {hub: hubconn.Hub{Host: host, DeviceID: "d\u00e9v"}},
		"device too long":           {hub: hubconn.Hub{Host: host, DeviceID: strings.Repeat("d", 129)}},
		"no credential":             {hub: good},
		"keep-alive fraction":       {hub: good, dialer: hubconn.Dialer{KeepAlive: 1500 * time.Millisecond}, credential: sasKey("k")},
		"keep-alive negative":       {hub: good, dialer: hubconn.Dialer{KeepAlive: -time.Second}, credential: sasKey("k")},
		"timeout negative":          {hub: good, dialer: hubconn.Dialer{DialTimeout: -1}, credential: sasKey("k")},
		"token life short":          {hub: good, dialer: hubconn.Dialer{TokenTTL: time.Second}, credential: sasKey("k")},
		"token life negative":       {hub: good, dialer: hubconn.Dialer{TokenTTL: -time.Hour}, credential: sasKey("k")},
		"in flight above the limit": {hub: good, dialer: hubconn.Dialer{MaxInFlight: 16385}, credential: sasKey("k")},
		"in flight far above":       {hub: good, dialer: hubconn.Dialer{MaxInFlight: 1 << 30}, credential: sasKey("k")},
		"in flight negative":        {hub: good, dialer: hubconn.Dialer{MaxInFlight: -1}, credential: sasKey("k")},
		"no verification":           {hub: good, dialer: hubconn.Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}}, credential: sasKey("k")},
	} {
		if try.credential == nil && name != "no credential" {
			try.credential = sasKey("k")
		}
		try.dialer.DialContext = func(context.Context, string, string) (net.Conn, error) {
			t.Errorf("%s: dialed", name)
			return nil, errors.New("no")
		}
		_, err := try.dialer.Dial(t.Context(), try.hub, try.credential)
		require.Error(t, err, name)
		assert.Equal(t, hubconn.Caller, hubconn.ClassOf(err), name)
		assert.Equal(t, retry.Stop, retry.Classify(err), name)
		assert.NotContains(t, err.Error(), "\n", name)
	}
}

func TestDialEndsWithTheCallersCauseAtEveryStage(t *testing.T) {
	play(t, func(s *stage) {
		cause := errors.New("the program ends")
		stages := map[string]func(){
			"dial":    func() { s.network.SetFault(host, simnet.Blackhole) },
			"silence": func() { s.network.Stall(host, true) },
			"connect": func() { s.hub.Inject(hubtest.Fault{On: hubtest.Connect, NoAnswer: true, Times: -1}) },
		}
		if !s.mqtt {
			stages["upgrade"] = func() {
				s.hub.Inject(hubtest.Fault{On: hubtest.Upgrade, NoAnswer: true, Times: -1})
			}
		}
		for name, stuck := range stages {
			stuck()
			ctx, cancel := context.WithCancelCause(s.Context())
			time.AfterFunc(10*time.Second, func() { cancel(cause) })
			start := time.Now()
			_, err := s.dialer.Dial(ctx, s.at, s.key)
			s.is(err, hubconn.Unreachable)
			assert.ErrorIs(s, err, cause, name)
			assert.Equal(s, 10*time.Second, time.Since(start), name)
			s.network.SetFault(host, simnet.None)
			s.network.Stall(host, false)
			s.hub.ClearFaults()
			s.network.Cut(host)
		}
	})
}

// Dial's context bounds Dial alone; its values stay with the connection.
func TestTheConnectionOutlivesTheContextOfDial(t *testing.T) {
	play(t, func(s *stage) {
		type key struct{}
		ctx, cancel := context.WithCancel(context.WithValue(s.Context(), key{}, "value"))
		conn, err := s.dialer.Dial(ctx, s.at, s.key)
		require.NoError(s, err)
		defer conn.Close()
		cancel()
		time.Sleep(time.Minute)
		require.NoError(s, conn.Send(s.Context(), hubconn.Message{Body: []byte("hello")}))
		assert.Equal(s, "value", conn.Context().Value(key{}))
	})
}

func TestOnRealSockets(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport.String(), func(t *testing.T) {
			n, err := simnet.Listen(simnet.ListenConfig{})
			require.NoError(t, err)
			s := newStage(t, n, transport)
			conn := s.connect()
			body := []byte(strings.Repeat("0123456789abcdef", 15<<10))
			for range 20 {
				require.NoError(t, conn.Send(t.Context(), hubconn.Message{Body: body}))
			}
			assert.Len(t, s.hub.Messages(), 20)
			s.hub.Disconnect("dev1")
			s.ended(conn, hubconn.Unreachable)

			cert := n.CA().Device("dev2")
			require.NoError(t, s.hub.Put(
				hubtest.Device{ID: "dev2", PrimaryThumbprint: hubtest.Thumbprint(cert.Leaf)},
			))
			s.at.DeviceID = "dev2"
			conn, err = s.dialer.Dial(t.Context(), s.at, clientCert{cert})
			require.NoError(t, err)
			require.NoError(t, conn.Send(t.Context(), hubconn.Message{Body: []byte("hello")}))
			require.NoError(t, conn.Close())

			n.SetCertificate(host, simnet.UnknownCA)
			s.fails(hubconn.Untrusted)
			n.SetCertificate(host, simnet.Valid)
			s.hub.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3})
			s.fails(hubconn.Server)
			n.SetFault(host, simnet.Refused)
			s.fails(hubconn.Unreachable)
			assert.NotContains(
				t, fmt.Sprint(s.hub.Attempts()), base64.StdEncoding.EncodeToString(s.key),
			)
		})
	}
}

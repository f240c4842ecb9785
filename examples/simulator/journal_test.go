// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestEachConnectionIsLoggedOnceHoweverTheServicesClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New()
		defer network.Close()
		hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
		require.NoError(t, hub.Put(hubtest.Device{ID: "kitchen", PrimaryKey: journalKey}))
		var out bytes.Buffer
		s := &simulator{
			network: network, events: recorded(network), hubs: []*hubtest.Hub{hub},
			dps: dpstest.New(network, dpstest.Config{}), log: newLogger(&out),
		}
		ctx, stop := context.WithCancel(t.Context())
		s.journal(ctx)

		d := &hubconn.Dialer{TLSConfig: network.TLSConfig(), DialContext: network.DialContext}
		connect := func() {
			c, err := d.Dial(
				ctx, hubconn.Hub{Host: hub.Host(), DeviceID: "kitchen"},
				dps.SymmetricKey{ID: "kitchen", Key: journalKey},
			)
			require.NoError(t, err)
			require.NoError(t, c.Close())
		}
		network.SetClockOffset(time.Minute)
		connect()
		time.Sleep(time.Second)
		network.SetClockOffset(0)
		connect()
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, 2, strings.Count(out.String(), `msg="device connected"`), out.String())
		time.Sleep(2 * time.Minute)
		stop()
		s.tasks.Wait()
		assert.Equal(t, 2, strings.Count(out.String(), `msg="device connected"`), out.String())
	})
}

func TestAConnectionIsLoggedWithItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New()
		defer network.Close()
		hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
		require.NoError(t, hub.Put(hubtest.Device{ID: "kitchen", PrimaryKey: journalKey}))
		hub.Inject(hubtest.Fault{On: hubtest.Connect, Delay: 200 * time.Millisecond})
		var out bytes.Buffer
		s := &simulator{
			network: network, events: recorded(network), hubs: []*hubtest.Hub{hub},
			dps: dpstest.New(network, dpstest.Config{}), log: newLogger(&out),
		}
		done := make(chan error)
		go func() {
			d := &hubconn.Dialer{TLSConfig: network.TLSConfig(), DialContext: network.DialContext}
			c, err := d.Dial(
				t.Context(), hubconn.Hub{Host: hub.Host(), DeviceID: "kitchen"},
				dps.SymmetricKey{ID: "kitchen", Key: journalKey},
			)
			if err == nil {
				err = c.Close()
			}
			done <- err
		}()
		time.Sleep(100 * time.Millisecond)
		after := s.write(0)
		assert.Empty(t, out.String(), "it may yet be answered")
		require.NoError(t, <-done)
		s.write(s.write(after))
		assert.Equal(t, 1, strings.Count(out.String(), `msg="device connected"`), out.String())
	})
}

const journalKey = "Y2FuYXJ5LWtleS1vZi1hLWtpdGNoZW4tMDAwMDAwMDE="

func TestAClientOfBeforeReprovisioningIsLoggedWithWhatThatMeans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New()
		defer network.Close()
		var out bytes.Buffer
		s := &simulator{
			network: network, events: recorded(network),
			dps: dpstest.New(network, dpstest.Config{}), log: newLogger(&out),
		}
		require.NoError(t, s.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: "kitchen", Attestation: dpstest.Keys(journalKey, ""),
		}))
		ctx, stop := context.WithCancel(t.Context())
		s.journal(ctx)
		key := dps.SymmetricKey{ID: "kitchen", Key: journalKey}
		token, err := key.Token(
			ctx, s.dps.IDScope()+"/registrations/kitchen", time.Now().Add(time.Hour),
		)
		require.NoError(t, err)
		for _, version := range []string{"2018-04-01", "2021-06-01"} {
			r, err := http.NewRequestWithContext(
				ctx, http.MethodPut, "https://"+dpstest.GlobalEndpoint+"/"+s.dps.IDScope()+
					"/registrations/kitchen/register?api-version="+version, nil,
			)
			require.NoError(t, err)
			r.Header.Set("Authorization", token)
			r.Header.Set("User-Agent", "azure-iot-provisioning-device/1.3.3")
			transport := &http.Transport{
				DialContext: network.DialContext, TLSClientConfig: network.TLSConfig(),
			}
			response, err := transport.RoundTrip(r)
			require.NoError(t, err)
			_ = response.Body.Close()
			require.Equal(t, http.StatusAccepted, response.StatusCode)
			transport.CloseIdleConnections()
			time.Sleep(time.Second)
		}
		stop()
		s.tasks.Wait()
		assert.Equal(t, 2, strings.Count(out.String(), `msg="client is old"`), out.String())
		assert.Contains(t, out.String(), `registrationId=kitchen meaning="Node SDK 1.3.3 registers`)
	})
}

func TestARefusedDeviceIsLoggedWithTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New()
		defer network.Close()
		hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
		require.NoError(t, hub.Put(hubtest.Device{ID: "kitchen", PrimaryKey: journalKey}))
		var out bytes.Buffer
		s := &simulator{
			network: network, events: recorded(network), hubs: []*hubtest.Hub{hub},
			dps: dpstest.New(network, dpstest.Config{}), log: newLogger(&out),
		}
		s.dps.Link(hub)
		require.NoError(t, s.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: "kitchen", Attestation: dpstest.Keys(journalKey, ""),
		}))
		otherKey := base64.StdEncoding.EncodeToString([]byte("canary-another-0123456789"))
		other := dps.SymmetricKey{ID: "kitchen", Key: otherKey}
		client := &dps.Client{
			IDScope: s.dps.IDScope(), Attestation: other, DialContext: network.DialContext,
			TLSConfig: network.TLSConfig(),
		}
		_, err := client.Register(t.Context(), dps.Registration{})
		require.Error(t, err)
		at := hubconn.Hub{Host: hub.Host(), DeviceID: "kitchen"}
		dialer := &hubconn.Dialer{
			DialContext: network.DialContext, TLSConfig: network.TLSConfig(),
		}
		require.Error(t, dialer.Post(t.Context(), at, other, hubconn.Message{Body: []byte("21")}))
		_, err = dialer.Dial(t.Context(), at, other)
		require.Error(t, err)
		s.write(0)
		for _, line := range []string{
			`msg="dps register" transport=https registrationId=kitchen status=401 code=401002 ` +
				`reason="the token is signed with another key than the enrollment's`,
			`msg="device refused" hub=hub-a.azure-devices.net deviceId=kitchen transport=https ` +
				`status=401 code=401003 reason="token is signed with another key"`,
			`msg="device refused" hub=hub-a.azure-devices.net deviceId=kitchen transport=mqtt ` +
				`returnCode=5 reason="token is signed with another key"`,
		} {
			assert.Contains(t, out.String(), line)
		}
	})
}

func TestClientsOfAMQPAreLoggedWithWhatToUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New()
		defer network.Close()
		hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
		var out bytes.Buffer
		s := &simulator{
			network: network, events: recorded(network), hubs: []*hubtest.Hub{hub},
			dps: dpstest.New(network, dpstest.Config{}), log: newLogger(&out),
		}
		for _, host := range []string{hub.Host(), dpstest.GlobalEndpoint} {
			raw, err := network.DialContext(t.Context(), "tcp", host+":5671")
			require.NoError(t, err)
			cfg := network.TLSConfig()
			cfg.ServerName = host
			nc := tls.Client(raw, cfg)
			require.NoError(t, nc.Handshake())
			require.NoError(t, nc.Close())
		}
		upgrade := httptest.NewRequest("GET", "/$iothub/websocket", nil)
		for name, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Protocol": "AMQPWSB10",
		} {
			upgrade.Header.Set(name, value)
		}
		s.dps.ServeHTTP(httptest.NewRecorder(), upgrade)
		time.Sleep(time.Second)
		s.write(0)
		for _, line := range []string{
			`msg="device refused" hub=hub-a.azure-devices.net deviceId="" transport=amqp ` +
				`reason="AMQP is not simulated`,
			`msg="dps connect" transport=amqp reason="AMQP is not simulated`,
			`msg="dps connect" transport=amqp-ws reason="AMQP is not simulated`,
		} {
			assert.Equal(t, 1, strings.Count(out.String(), line), out.String())
		}
		assert.Equal(t, 3, strings.Count(out.String(), "\n"), out.String())
	})
}

func TestRefusalTellsOnlyWhatTheDeviceWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New()
		defer network.Close()
		hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
		hub.Inject(hubtest.Fault{On: hubtest.Upgrade, Status: 503})
		var out bytes.Buffer
		s := &simulator{
			network: network, events: recorded(network), hubs: []*hubtest.Hub{hub},
			dps: dpstest.New(network, dpstest.Config{}), log: newLogger(&out),
		}
		ctx, stop := context.WithCancel(t.Context())
		s.journal(ctx)
		d := &hubconn.Dialer{
			TLSConfig: network.TLSConfig(), DialContext: network.DialContext,
			Transport: hubconn.MQTTWebSocket,
		}
		_, err := d.Dial(ctx, hubconn.Hub{Host: hub.Host(), DeviceID: "kitchen"}, dps.SymmetricKey{
			ID: "kitchen", Key: journalKey,
		})
		require.Error(t, err)
		time.Sleep(time.Second)
		stop()
		s.tasks.Wait()
		assert.Contains(t, out.String(), "status=503")
		assert.NotContains(t, out.String(), "returnCode") // 0 would mean accepted
	})
}

func recorded(n *simnet.Network) *simnet.EventLog {
	l := new(simnet.EventLog)
	n.RecordEvents(l)
	return l
}

// What one look of the journal costs when devices have tried to connect 20,000 times, and nothing
// is new.
//
//	go test -run '^$' -bench Journal ./examples/simulator
func BenchmarkJournal(b *testing.B) {
	network := simnet.New()
	defer network.Close()
	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
	s := &simulator{
		network: network, events: recorded(network), hubs: []*hubtest.Hub{hub},
		dps: dpstest.New(network, dpstest.Config{}), log: slog.New(slog.DiscardHandler),
	}
	for range 20_000 {
		hub.ServeHTTP(
			httptest.NewRecorder(), httptest.NewRequest("GET", "/$iothub/websocket", nil),
		)
	}
	after := s.write(0)
	if n := testing.AllocsPerRun(10, func() { s.write(after) }); n > 5 {
		b.Errorf("%v allocations though nothing is new", n)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.write(after)
	}
}

// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"crypto/tls"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

func TestASlashMayEndAPath(t *testing.T) {
	for target, want := range map[string]Op{
		"PUT /0ne/registrations/dev/register/?api-version=v":     Register,
		"GET /0ne/registrations/dev/operations/op/?api-version=": Poll,
		"POST /0ne/registrations/dev/":                           Lookup,
		"POST /0ne/registrations/dev":                            Lookup,
		"PUT /0ne/registrations/dev/register//":                  Clock,
		"GET /":                                                  Clock,
	} {
		method, path, _ := strings.Cut(target, " ")
		u, err := url.Parse(path)
		require.NoError(t, err)
		c := route(method, u)
		assert.Equal(t, want, c.op, target)
		if want != Clock {
			assert.Equal(t, "dev", c.registrationID, target)
		}
	}
}

func TestClientsOfAMQPAreToldThatItIsNotSimulated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		defer n.Close()
		s := New(n, Config{})
		raw, err := n.DialContext(t.Context(), "tcp", GlobalEndpoint+":5671")
		require.NoError(t, err)
		cfg := n.TLSConfig()
		cfg.ServerName = GlobalEndpoint
		nc := tls.Client(raw, cfg)
		_, err = io.WriteString(nc, "AMQP\x00\x01\x00\x00")
		require.NoError(t, err)
		heard := make([]byte, 200)
		got, err := io.ReadAtLeast(nc, heard, 120)
		require.NoError(t, err)
		assert.Contains(t, string(heard[:got]), "AMQP is not simulated")
		require.NoError(t, nc.Close())

		d := websocket.Dialer{
			NetDialContext: n.DialContext, TLSClientConfig: cfg,
			Subprotocols: []string{"AMQPWSB10"},
		}
		_, response, err := d.Dial("wss://"+GlobalEndpoint+"/$iothub/websocket", nil)
		require.Error(t, err)
		assert.Equal(t, 501, response.StatusCode)
		all := s.Requests()
		require.Len(t, all, 2)
		for i, want := range []Request{
			{Op: Connect, Transport: AMQP}, {Op: Connect, Transport: AMQPWebSocket, Status: 501},
		} {
			assert.Contains(t, all[i].Note, "AMQP is not simulated")
			assert.False(t, all[i].Answered.IsZero())
			want.Time, want.Answered, want.Note = all[i].Time, all[i].Answered, all[i].Note
			assert.Equal(t, want, all[i])
		}
	})
}

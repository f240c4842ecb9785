// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
)

func TestConnectSaysWhatItIsToldAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, p := link(t)
		var got *packets.ConnectPacket
		play(t, p, func(p *peer) {
			got, _ = p.next().(*packets.ConnectPacket)
			p.send(0x20, 2, 1, 0)
			p.ignore()
		})
		c, err := Connect(t.Context(), nc, Options{
			ClientID: "dev1", Username: "hub/dev1/?api-version=1", Password: "secret",
			KeepAlive: 90 * time.Second,
		})
		require.NoError(t, err)
		defer c.Close()
		assert.Equal(t, "MQTT", got.ProtocolName)
		assert.EqualValues(t, 4, got.ProtocolVersion)
		assert.Equal(t, "dev1", got.ClientIdentifier)
		assert.Equal(t, "hub/dev1/?api-version=1", got.Username)
		assert.Equal(t, "secret", string(got.Password))
		assert.EqualValues(t, 90, got.Keepalive)
		assert.False(t, got.CleanSession)
		assert.False(t, got.WillFlag)
		assert.True(t, c.SessionPresent())
	})
}

func TestConnectWithoutPasswordSendsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, p := link(t)
		var got *packets.ConnectPacket
		play(t, p, func(p *peer) {
			got, _ = p.next().(*packets.ConnectPacket)
			p.send(0x20, 2, 0, 0)
			p.ignore()
		})
		c, err := Connect(
			t.Context(), nc, Options{ClientID: "dev1", Username: "user", CleanSession: true},
		)
		require.NoError(t, err)
		defer c.Close()
		assert.False(t, got.PasswordFlag)
		assert.True(t, got.CleanSession)
		assert.EqualValues(t, 240, got.Keepalive)
		assert.False(t, c.SessionPresent())
	})
}

func TestEveryReturnCodeButZeroIsARefusal(t *testing.T) {
	for code := 1; code <= 255; code++ {
		synctest.Test(t, func(t *testing.T) {
			nc, p := link(t)
			connects := 0
			play(t, p, func(p *peer) {
				for p.next() != nil {
					connects++
					time.Sleep(46 * time.Second)
					p.send(0x20, 2, 0, byte(code))
				}
			})
			_, err := Connect(t.Context(), nc, Options{ClientID: "dev1"})
			refused, ok := errors.AsType[*RefusedError](err)
			require.True(t, ok, "code %d: %v", code, err)
			assert.EqualValues(t, code, refused.Code)
			assert.Equal(t, 46*time.Second, refused.Elapsed)
			assert.Equal(t, 1, connects, "a refusal is not tried again in another protocol version")
		})
	}
}

func TestConnectWithoutConnackEndsAfter75Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, p := link(t)
		play(t, p, (*peer).ignore)
		start := time.Now()
		_, err := Connect(t.Context(), nc, Options{ClientID: "dev1"})
		timeout, ok := errors.AsType[*TimeoutError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, "CONNACK", timeout.For)
		var netError net.Error
		require.ErrorAs(t, err, &netError)
		assert.True(t, netError.Timeout())
		assert.Equal(t, 75*time.Second, time.Since(start))
	})
}

func TestConnectToAPeerThatReadsNothingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := memnet.Pipe("device:1", "hub:8883")
		defer server.Close()
		server.Stall(true)
		fill := bytes.Repeat([]byte{0}, 64<<10)
		_, _ = client.Write(fill)
		start := time.Now()
		_, err := Connect(t.Context(), client, Options{ClientID: "dev1"})
		require.Error(t, err)
		assert.Equal(t, 10*time.Second, time.Since(start), "the write timeout")
	})
}

func TestConnectEndsWithTheCallersCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, p := link(t)
		closed := make(chan struct{})
		play(t, p, func(p *peer) { p.ignore(); close(closed) })
		cause := errors.New("the program ends")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(10*time.Second, func() { cancel(cause) })
		start := time.Now()
		_, err := Connect(ctx, nc, Options{ClientID: "dev1"})
		assert.ErrorIs(t, err, cause)
		assert.Equal(t, 10*time.Second, time.Since(start))
		<-closed
	})
}

func TestConnectWithADeadContextSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, p := link(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Connect(ctx, nc, Options{ClientID: "dev1"})
		assert.ErrorIs(t, err, context.Canceled)
		sent, _ := io.ReadAll(p.nc)
		assert.Empty(t, sent)
	})
}

func TestConnectEndsWithTheNetwork(t *testing.T) {
	for name, part := range map[string]func(*peer){
		"closed before CONNACK":  func(p *peer) { p.next(); _ = p.nc.Close() },
		"closed within CONNACK":  func(p *peer) { p.next(); p.send(0x20, 2, 0); _ = p.nc.Close() },
		"reset before CONNACK":   func(p *peer) { p.next(); p.nc.(*memnet.Conn).Reset() },
		"another packet first":   func(p *peer) { p.next(); p.send(0xd0, 0); p.ignore() },
		"HTTP":                   func(p *peer) { p.next(); p.send([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")...); p.ignore() },
		"CONNACK of three bytes": func(p *peer) { p.next(); p.send(0x20, 3, 0, 0, 0); p.ignore() },
	} {
		synctest.Test(t, func(t *testing.T) {
			nc, p := link(t)
			play(t, p, part)
			start := time.Now()
			_, err := Connect(t.Context(), nc, Options{ClientID: "dev1"})
			require.Error(t, err, name)
			assert.Zero(t, time.Since(start), name)
			assert.NotContains(t, err.Error(), "\n", name)
		})
	}
}

func TestConnectRefusesOptionsThatCannotBeSent(t *testing.T) {
	long := strings.Repeat("x", 65536)
	for name, o := range map[string]Options{
		"password without user": {ClientID: "dev1", Password: "canary-secret"},
		"client ID":             {ClientID: long},
		"user name":             {Username: long},
		"password":              {Username: "u", Password: long + "canary-secret"},
		"negative keep-alive":   {KeepAlive: -time.Second},
		"fractional keep-alive": {KeepAlive: 1500 * time.Millisecond},
		"long keep-alive":       {KeepAlive: 65536 * time.Second},
	} {
		client, server := memnet.Pipe("device:1", "hub:8883")
		_, err := Connect(t.Context(), client, o)
		require.Error(t, err, name)
		assert.NotContains(t, err.Error(), "canary", name)
		sent, _ := io.ReadAll(server)
		assert.Empty(t, sent, name)
	}
}

// A refusal may be there before CONNECT is: it has taken no time then.
func TestARefusalThatComesTooEarlyTookNoTime(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			nc, p := link(t)
			p.send(0x20, 2, 0, 5)
			_, err := Connect(t.Context(), nc, Options{ClientID: "dev1"})
			refused, ok := errors.AsType[*RefusedError](err)
			require.True(t, ok)
			require.Zero(t, refused.Elapsed)
		})
	}
}

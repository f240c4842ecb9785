// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// awaited is an operation of the client whose packet the server has.
type awaited struct {
	answer byte // the type of packet that acknowledges it
	id     uint16
	result chan error
}

// Whatever acknowledgements a server sends, each ends the one operation whose packet has its
// identifier and its type, with the code that it carries, and ends nothing else: no other
// operation, and not the connection.
func FuzzSuback(f *testing.F) {
	f.Add([]byte{0, 0, 0, 3, 0, 1})                               // subscribe, granted
	f.Add([]byte{0, 0, 0, 3, 0, 0x80, 0, 0, 0, 3, 0, 0x87})       // refused, twice
	f.Add([]byte{0, 0, 0, 4, 0, 0, 5, 0, 0, 3, 0, 0})             // the wrong types first
	f.Add([]byte{0, 0, 0, 0, 0, 0, 3, 1, 2, 3, 0, 1})             // in another order
	f.Add([]byte{1, 0, 0, 3, 0, 1, 4, 0, 0, 4, 0, 0})             // unsubscribe, and once more
	f.Add([]byte{2, 0, 0, 3, 0, 1, 5, 0, 0, 5, 0, 0})             // a message among them
	f.Add([]byte{6, 0, 1, 0, 0, 0, 6, 0, 1, 6, 0, 2, 6, 0x80, 1}) // of whatever identifier
	f.Add([]byte{0, 0, 0, 6, 0x77, 0x77, 3, 0, 1})                // of nobody's, then the right one
	f.Fuzz(func(t *testing.T, script []byte) {
		synctest.Test(t, func(t *testing.T) { pair(t, script[:min(len(script), 3*40)]) })
	})
}

// pair plays a script: three bytes are something that the client does or the server sends.
func pair(t *testing.T, script []byte) {
	asked := make(chan packets.ControlPacket, len(script)+1)
	c, server := connected(t, Options{MaxInFlight: 64}, func(p *peer) {
		p.accept(0)
		for packet := p.next(); packet != nil; packet = p.next() {
			asked <- packet
		}
	})
	var waiting []awaited
	acknowledged := uint64(0)
	ask := func(answer byte, do func() error) {
		a := awaited{answer: answer, result: make(chan error, 1)}
		go func() { a.result <- do() }()
		a.id = (<-asked).Details().MessageID
		waiting = append(waiting, a)
	}
	send := func(kind byte, id uint16, code byte) {
		packet := []byte{kind << 4, 2, byte(id >> 8), byte(id)}
		if kind == typeSuback {
			packet[1] = 3
			packet = append(packet, code)
		}
		server.send(packet...)
		synctest.Wait()
		for i, a := range waiting {
			if a.answer != kind || a.id != id {
				continue
			}
			waiting = append(waiting[:i:i], waiting[i+1:]...)
			require.Len(t, a.result, 1, "type %d for identifier %d", kind, id)
			checkPaired(t, <-a.result, kind, code)
			if kind != typeUnsuback {
				acknowledged++
			}
			break
		}
	}
	for ; len(script) >= 3; script = script[3:] {
		op, which, code := script[0]%7, script[1], script[2]
		id := uint16(which)<<8 | uint16(code)
		if n := len(waiting); n > 0 && op < 6 {
			id = waiting[int(which)%n].id
		}
		switch filter := fmt.Sprintf("a/%d", which); op {
		case 0:
			ask(typeSuback, func() error { return c.Subscribe(t.Context(), filter, code%2) })
		case 1:
			ask(typeUnsuback, func() error { return c.Unsubscribe(t.Context(), filter) })
		case 2:
			ask(typePuback, func() error { return c.Publish(t.Context(), "a", 1, script[:1]) })
		case 3, 6:
			send(typeSuback, id, code)
		case 4:
			send(typeUnsuback, id, code)
		case 5:
			send(typePuback, id, code)
		}
		synctest.Wait()
		for _, a := range waiting {
			require.Empty(t, a.result, "type %d for identifier %d", a.answer, a.id)
		}
		require.NoError(t, c.Context().Err())
		require.Equal(t, acknowledged, c.Acknowledged())
	}
	require.NoError(t, c.Close())
	for _, a := range waiting {
		assert.ErrorIs(t, <-a.result, ErrClosed)
	}
}

// checkPaired: a subscription has what the server granted it, and there is nothing in the others to
// refuse them.
func checkPaired(t *testing.T, err error, kind, code byte) {
	if kind != typeSuback || code < 0x80 {
		assert.NoError(t, err)
		return
	}
	refused, ok := errors.AsType[*SubscribeError](err)
	require.True(t, ok, "code %#x: %v", code, err)
	assert.Equal(t, code, refused.Code)
}

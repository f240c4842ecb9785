// SPDX-License-Identifier: Apache-2.0

//go:build unix

package hubconn_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// floorClient is as little as sends a message at QoS 1 and waits for its acknowledgement: no ping,
// no deadline, no context, no end but that of the process. It shows what TLS and the scheduler cost
// by themselves. A sender that finds nobody writing writes what all have put together.
type floorClient struct {
	nc    *tls.Conn
	topic string
	free  chan uint16     // packet identifiers
	acked []chan struct{} // by packet identifier

	mu      sync.Mutex
	pending []byte
	spare   []byte
	writing bool
}

func newFloorClient(tb testing.TB, server benchServer, inFlight int) *floorClient {
	nc, err := tls.Dial("tcp", server.addr, server.tlsConfig())
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = nc.Close() })
	c := &floorClient{
		nc: nc, topic: "devices/floor/messages/events/",
		free: make(chan uint16, inFlight), acked: make([]chan struct{}, inFlight+1),
	}
	for id := 1; id <= inFlight; id++ {
		c.free <- uint16(id)
		c.acked[id] = make(chan struct{}, 1)
	}
	connect := append([]byte{0x10, 17, 0, 4}, "MQTT\x04\x02\x00\x00\x00\x05floor"...)
	_, err = nc.Write(connect)
	require.NoError(tb, err)
	in := bufio.NewReaderSize(nc, 4<<10)
	connack := make([]byte, 4)
	for i := range connack {
		connack[i], err = in.ReadByte()
		require.NoError(tb, err)
	}
	require.Equal(tb, []byte{0x20, 2, 0, 0}, connack)
	go c.read(in)
	return c
}

func (c *floorClient) read(in *bufio.Reader) {
	for {
		var puback [4]byte
		for i := range puback {
			b, err := in.ReadByte()
			if err != nil {
				return
			}
			puback[i] = b
		}
		c.acked[binary.BigEndian.Uint16(puback[2:])] <- struct{}{}
	}
}

func (c *floorClient) send(payload []byte) error {
	if len(payload) > 200<<10 {
		return errors.New("floor: the payload is too long")
	}
	id := <-c.free
	c.mu.Lock()
	c.pending = append(c.pending, 0x32)
	c.pending = binary.AppendUvarint(c.pending, uint64(2+len(c.topic)+2+len(payload)))
	c.pending = binary.BigEndian.AppendUint16(c.pending, uint16(len(c.topic)))
	c.pending = append(c.pending, c.topic...)
	c.pending = binary.BigEndian.AppendUint16(c.pending, id)
	c.pending = append(c.pending, payload...)
	var err error
	if !c.writing {
		c.writing = true
		c.mu.Unlock()
		runtime.Gosched() // let everyone who is about to send put his message to this one
		c.mu.Lock()
		for len(c.pending) > 0 && err == nil {
			batch := c.pending
			c.pending = c.spare[:0]
			c.mu.Unlock()
			_, err = c.nc.Write(batch)
			c.mu.Lock()
			c.spare = batch
		}
		c.writing = false
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	<-c.acked[id]
	c.free <- id
	return nil
}

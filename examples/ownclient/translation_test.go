// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// half is a connection of which one side is at hand.
type half struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (h *half) Read(b []byte) (int, error)  { return h.in.Read(b) }
func (h *half) Write(b []byte) (int, error) { return h.out.Write(b) }

const withWill = "\x10\x17\x00\x04MQTT\x05\x06\x00\x3c\x00\x00\x01d\x02\x01\x00\x00\x01t\x00\x01m"

func TestPacketsAreTranslatedToTheServer(t *testing.T) {
	for name, row := range map[string]struct{ said, heard []byte }{
		"CONNECT": {
			[]byte("\x10\x17\x00\x04MQTT\x05\x82\x00\x3c" +
				"\x05\x11\x00\x00\x00\x01\x00\x01d\x00\x02us"),
			[]byte("\x10\x11\x00\x04MQTT\x04\x82\x00\x3c\x00\x01d\x00\x02us"),
		},
		"CONNECT with a will": {
			[]byte(withWill),
			[]byte("\x10\x13\x00\x04MQTT\x04\x06\x00\x3c\x00\x01d\x00\x01t\x00\x01m"),
		},
		"PUBLISH at QoS 0": {[]byte("\x30\x06\x00\x01t\x02\x01\x00"), []byte("\x30\x03\x00\x01t")},
		"PUBLISH at QoS 1": {
			[]byte("\x32\x08\x00\x01t\x00\x07\x00hi"), []byte("\x32\x07\x00\x01t\x00\x07hi"),
		},
		"PUBACK": {[]byte("\x40\x04\x00\x07\x10\x00"), []byte("\x40\x02\x00\x07")},
		"SUBSCRIBE": {
			[]byte("\x82\x07\x00\x01\x00\x00\x01f\x2d"), []byte("\x82\x06\x00\x01\x00\x01f\x01"),
		},
		"PINGREQ": {[]byte("\xc0\x00"), []byte("\xc0\x00")},
		"DISCONNECT": {
			[]byte("\xe0\x02\x04\x00\xc0\x00"), []byte("\xe0\x00\xc0\x00"),
		},
	} {
		for _, size := range []int{1, 3, len(row.said)} {
			h := &half{}
			conn := newTranslation(h)
			for rest := row.said; len(rest) > 0; {
				n, err := conn.Write(rest[:min(size, len(rest))])
				require.NoError(t, err, name)
				rest = rest[n:]
			}
			require.Equal(t, row.heard, h.out.Bytes(), name)
		}
	}
	_, err := newTranslation(&half{}).Write([]byte("\x50\x02\x00\x01")) // PUBREC, of QoS 2
	require.ErrorContains(t, err, "not translated")
}

func TestPacketsAreTranslatedToTheClient(t *testing.T) {
	for name, row := range map[string]struct{ said, heard string }{
		"CONNACK":              {"\x20\x02\x01\x00", "\x20\x05\x01\x00\x02\x24\x01"},
		"CONNACK that refuses": {"\x20\x02\x00\x05", "\x20\x05\x00\x87\x02\x24\x01"},
		"PUBLISH":              {"\x32\x06\x00\x01t\x00\x07h", "\x32\x07\x00\x01t\x00\x07\x00h"},
		"PUBACK":               {"\x40\x02\x00\x07", "\x40\x02\x00\x07"},
		"SUBACK":               {"\x90\x03\x00\x01\x80", "\x90\x04\x00\x01\x00\x80"},
		"PINGRESP":             {"\xd0\x00", "\xd0\x00"},
	} {
		conn := newTranslation(&half{in: bytes.NewReader([]byte(row.said + row.said))})
		got, err := io.ReadAll(conn)
		require.NoError(t, err, name)
		require.Equal(t, row.heard+row.heard, string(got), name)
	}
}

// requirePackets requires all of it to be whole packets.
func requirePackets(t *testing.T, told []byte) {
	for len(told) > 0 {
		_, _, rest, ok := split(told)
		require.True(t, ok, "%q", told)
		told = rest
	}
}

// Whatever server or client say, the other is told whole packets or nothing.
func FuzzTranslation(f *testing.F) {
	f.Add([]byte("\x20\x02\x00\x00\x32\x06\x00\x01t\x00\x07h"))
	f.Add([]byte(withWill))
	f.Add([]byte("\x82\x07\x00\x01\x00\x00\x01f\x2d"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var told bytes.Buffer
		_, _ = io.Copy(&told, newTranslation(&half{in: bytes.NewReader(data)}))
		requirePackets(t, told.Bytes())
		server := &half{}
		_, _ = newTranslation(server).Write(data)
		requirePackets(t, server.out.Bytes())
	})
}

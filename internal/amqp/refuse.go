// SPDX-License-Identifier: Apache-2.0

package amqp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Reason is what a client is told.
const Reason = "AMQP is not simulated: connect by MQTT, MQTT over WebSocket or HTTPS"

const (
	// patience is how long a client may take for its part.
	patience = 10 * time.Second
	// maxFrame is the largest frame that is read: credentials are shorter.
	maxFrame = 16 << 10
)

// The headers that begin a connection (2.2) and its security layer (5.3.1).
var (
	plain = []byte("AMQP\x00\x01\x00\x00")
	sasl  = []byte("AMQP\x03\x01\x00\x00")
)

// Refuse opens an AMQP connection and closes it with the error amqp:not-implemented and a reason of
// 200 bytes at most. It returns when the client has left, or after 10 s, and closes nc. Whoever
// speaks something else is told the header of AMQP alone (2.2).
func Refuse(nc net.Conn, reason string) error {
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience)) // fails where nc is closed, as what follows does
	err := refuse(nc, reason)
	if errors.Is(err, errHeader) {
		_, _ = nc.Write(plain)
		return err
	}
	if err == nil {
		// To close with something unread would take from the client what it was told.
		_, err = io.Copy(io.Discard, io.LimitReader(nc, 1<<20))
	}
	return err
}

var errHeader = errors.New("amqp: not a header of AMQP 1.0")

func refuse(rw io.ReadWriter, reason string) error {
	header, err := readHeader(rw)
	if err != nil {
		return err
	}
	if header == string(sasl) {
		// 5.3.3.1: mechanisms, and init, and the outcome. What it proves is of no interest.
		mechanisms := frame(1, 0x40, symbols("ANONYMOUS", "PLAIN", "EXTERNAL", "MSSBCBS"))
		if _, err := rw.Write(append(sasl[:8:8], mechanisms...)); err != nil {
			return err
		}
		if err := skipFrame(rw); err != nil {
			return err
		}
		if _, err := rw.Write(frame(1, 0x44, []byte{0x50, 0})); err != nil {
			return err
		}
		if header, err = readHeader(rw); err != nil {
			return err
		}
	}
	if header != string(plain) {
		return errHeader
	}
	why := described(0x1d, text(0xa3, "amqp:not-implemented"), text(0xa1, reason))
	answer := append(plain[:8:8], frame(0, 0x10, text(0xa1, "simulator"))...)
	_, err = rw.Write(append(answer, frame(0, 0x18, why)...))
	return err
}

func readHeader(r io.Reader) (string, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", err
	}
	if h := string(b[:]); h == string(plain) || h == string(sasl) {
		return h, nil
	}
	return "", errHeader
}

func skipFrame(r io.Reader) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 8 || n > maxFrame {
		return fmt.Errorf("amqp: a frame of %d bytes", n)
	}
	_, err := io.CopyN(io.Discard, r, int64(n)-4)
	return err
}

// frame is a frame (2.3.1) of a kind, 0 for AMQP and 1 for SASL, with one performative.
func frame(kind, code byte, fields ...[]byte) []byte {
	body := described(code, fields...)
	out := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	out = append(out, 2, kind, 0, 0)
	return append(out, body...)
}

// described is a list with a descriptor (1.2, 1.6.23).
func described(code byte, fields ...[]byte) []byte {
	var all []byte
	for _, f := range fields {
		all = append(all, f...)
	}
	out := []byte{0, 0x53, code, 0xd0}
	out = binary.BigEndian.AppendUint32(out, uint32(4+len(all)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(fields)))
	return append(out, all...)
}

// text is a string (0xa1) or a symbol (0xa3), of 255 bytes at most.
func text(kind byte, s string) []byte {
	s = s[:min(len(s), 255)]
	return append([]byte{kind, byte(len(s))}, s...)
}

// symbols is an array of symbols (1.6.24).
func symbols(names ...string) []byte {
	all := []byte{byte(len(names)), 0xa3}
	for _, n := range names {
		all = append(append(all, byte(len(n))), n...)
	}
	return append([]byte{0xe0, byte(len(all))}, all...)
}

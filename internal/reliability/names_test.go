// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/rehome-iot/rehome/internal/memnet"
)

// The addresses that the name server knows.
var (
	serviceAddress = netip.MustParseAddr("192.0.2.10")
	portalAddress  = netip.MustParseAddr("192.0.2.80")
)

// resolve looks the faulty host up, by Go's own resolver over a name server that may be faulty.
func (w *way) resolve(ctx context.Context, host string) (netip.Addr, error) {
	resolver := &net.Resolver{
		PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			return w.open("192.0.2.53:53", w.answerNames)
		},
	}
	addresses, err := resolver.LookupNetIP(ctx, "ip4", host+".") // as it stands: no search list
	if err != nil {
		return netip.Addr{}, err
	}
	return addresses[0].Unmap(), nil
}

// answerNames is one connection to the name server. The resolver speaks to it as over TCP (RFC 1035
// §4.2.2), since a connection in memory has no packets.
func (w *way) answerNames(raw *memnet.Conn) {
	defer raw.Close()
	var size [2]byte
	for {
		if _, err := io.ReadFull(raw, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(raw, query); err != nil {
			return
		}
		code, address := byte(0), serviceAddress
		out := &pace{Conn: raw, left: -1}
		switch w.strike(atNames, unit{}) {
		case refused:
			code = 5 // RFC 1035 §4.1.1
		case reset:
			raw.Reset()
		case stalled:
			raw.Stall(true)
		case half:
			_ = raw.CloseWrite()
			_, _ = io.Copy(io.Discard, raw)
		case garbage:
			_, _ = raw.Write(noise)
		case trickle:
			out.slow.Store(true)
		case early:
			out.left = 20
		case portal:
			address = portalAddress
		case none:
		}
		if _, err := out.Write(response(query, code, address)); err != nil {
			return
		}
	}
}

// response answers a query with one address, or with a code (RFC 1035 §4.1).
func response(query []byte, code byte, address netip.Addr) []byte {
	end := 12
	for query[end] != 0 {
		end += 1 + int(query[end])
	}
	end += 5 // the root, type and class
	r := append([]byte{0, 0}, query[:end]...)
	copy(r[4:], []byte{0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0})
	if code == 0 {
		r[9] = 1
		r = append(r, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
		r = append(r, address.AsSlice()...)
	}
	binary.BigEndian.PutUint16(r, uint16(len(r)-2))
	return r
}

// pace is how bytes leave a server.
type pace struct {
	*memnet.Conn
	slow atomic.Bool
	left int // bytes until the connection ends; -1: any number
}

// Write is slow from a tenth of a second on, so that no byte comes at the very moment at which
// somebody gives up.
func (p *pace) Write(b []byte) (int, error) {
	if p.left >= 0 && len(b) > p.left {
		_, _ = p.Conn.Write(b[:p.left])
		_ = p.Conn.Close()
		return 0, net.ErrClosed
	}
	if p.left >= 0 {
		p.left -= len(b)
	}
	for n := range b {
		if !p.slow.Load() {
			rest, err := p.Conn.Write(b[n:])
			return n + rest, err
		}
		wait := time.Second
		if n == 0 {
			wait /= 10
		}
		time.Sleep(wait)
		if _, err := p.Conn.Write(b[n : n+1]); err != nil {
			return n, err
		}
	}
	return len(b), nil
}

// init lets Go's resolver read its configuration outside of every bubble: it makes a channel for
// that once, which would belong to the first bubble that looks a name up.
func init() {
	resolver := &net.Resolver{
		PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, net.ErrClosed
		},
	}
	_, _ = resolver.LookupNetIP(context.Background(), "ip4", "device.invalid.")
}

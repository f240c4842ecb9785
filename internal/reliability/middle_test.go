// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"

	"github.com/rehome-iot/rehome/internal/memnet"
)

// line is a connection of a client through the middle: its TLS ends there, with a certificate that
// it trusts, and goes on to the service over another. So the middle sees every request.
type line struct {
	raw  *memnet.Conn // the middle's end
	out  *pace        // over raw
	down *tls.Conn    // over out
	mute atomic.Bool  // nothing that the service says is passed on
	mqtt atomic.Bool  // it carries MQTT, by now
	cut  atomic.Bool  // of the next that it says, the first half is

	client dialect // what the client speaks; passUp alone touches it
	up     *tls.Conn
	ended  chan struct{} // closed when the service has ended up
}

// serve is a connection to the faulty host.
func (w *way) serve(address string, mqtt bool, raw *memnet.Conn) {
	defer raw.Close()
	out := &pace{Conn: raw, left: -1}
	f := w.strike(atHandshake, unit{})
	switch f {
	case none:
	case trickle:
		out.slow.Store(true)
	case early:
		out.left = 100
	default:
		w.spoilHandshake(f, raw)
		return
	}
	down := tls.Server(out, &tls.Config{
		Certificates: []tls.Certificate{w.certificate},
		MaxVersion:   tls.VersionTLS12, // as the services
	})
	if down.Handshake() != nil {
		return
	}
	l := &line{raw: raw, out: out, down: down, client: dialect{mqtt: mqtt}}
	if w.reach(l, address) != nil {
		return
	}
	w.mu.Lock()
	w.lines = append(w.lines, l)
	w.mu.Unlock()
	w.passUp(l, address)
	_ = l.up.NetConn().Close()
}

// reach connects a line to the service.
func (w *way) reach(l *line, address string) error {
	onward, err := w.network.DialContext(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	config := w.network.TLSConfig()
	config.ServerName, config.ClientSessionCache = w.host, w.sessions
	up, ended := tls.Client(onward, config), make(chan struct{})
	l.up, l.ended = up, ended
	w.tasks.Go(func() {
		l.passDown(up)
		close(ended)
	})
	return nil
}

// passUp hands on what the client sends, up to the request that meets the fault.
func (w *way) passUp(l *line, address string) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := l.down.Read(buffer)
		for _, u := range l.client.feed(buffer[:n]) {
			l.mqtt.Store(l.client.mqtt || l.client.web)
			if w.pass(l, address, u) != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (w *way) pass(l *line, address string, u unit) error {
	if f := w.strike(atRequest, u); f != none {
		l.spoil(f)
	} else if u.title != "" && w.at.layer == atRequest {
		l.out.slow.Store(false) // it is the response to another request that was slow
	}
	if l.mute.Load() {
		return nil // whatever it asks, nobody hears it
	}
	if u.title != "" && !l.mqtt.Load() {
		select {
		case <-l.ended: // the service had waited for another request for long enough
			_ = l.up.NetConn().Close()
			if err := w.reach(l, address); err != nil {
				return err
			}
		default:
		}
	}
	_, err := l.up.Write(u.raw)
	return err
}

// passDown hands on what the service says. Of an end it tells a client of MQTT alone: one of HTTP
// asks for another response, or ends the connection itself.
func (l *line) passDown(up *tls.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := up.Read(buffer)
		switch {
		case l.mute.Load():
		case n > 0 && l.cut.Load():
			_, _ = l.down.Write(buffer[:(n+1)/2])
			_ = l.raw.Close()
			return
		case n > 0:
			if _, err := l.down.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if l.mqtt.Load() && !l.mute.Load() {
				_ = l.down.CloseWrite()
				_ = l.raw.Close()
			}
			return
		}
	}
}

// spoil makes a fault in place of the response to what was just sent, or of silence.
func (l *line) spoil(f fault) {
	switch f {
	case reset:
		l.raw.Reset()
	case stalled:
		l.raw.Stall(true)
	case half:
		l.mute.Store(true)
		_ = l.down.CloseWrite()
		_ = l.raw.CloseWrite()
	case garbage:
		l.mute.Store(true)
		_, _ = l.down.Write(noise)
	case trickle:
		l.out.slow.Store(true)
	case early:
		l.cut.Store(true)
	case portal:
		l.mute.Store(true)
		_, _ = io.WriteString(l.down, page)
	case none, refused: // it is the simulator that refuses
	}
}

// spoilHandshake answers a ClientHello in the wrong way.
func (w *way) spoilHandshake(f fault, raw *memnet.Conn) {
	if f == portal {
		w.servePortal(raw)
		return
	}
	_, _ = raw.Read(make([]byte, 4096))
	switch f {
	case refused:
		_, _ = raw.Write([]byte{21, 3, 3, 0, 2, 2, 40}) // alert handshake_failure
		return
	case reset:
		raw.Reset()
		return
	case stalled:
		raw.Stall(true)
	case half:
		_ = raw.CloseWrite()
	case garbage:
		_, _ = raw.Write(noise)
	}
	_, _ = io.Copy(io.Discard, raw)
}

// servePortal is a captive portal in the host's place: it has no certificate that is trusted, and a
// page for whoever does not mind.
func (w *way) servePortal(raw *memnet.Conn) {
	defer raw.Close()
	nc := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{w.strange}})
	if nc.Handshake() != nil {
		return
	}
	_, _ = io.WriteString(nc, page)
	_, _ = io.Copy(io.Discard, net.Conn(nc))
}

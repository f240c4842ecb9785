// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// ListenConfig says where a network on real sockets listens. The zero value takes free ports on
// 127.0.0.1 and a CA of its own.
type ListenConfig struct {
	// Addr is the IP address or host name to listen on. Default "127.0.0.1".
	Addr string
	// HTTPSPort is the port for HTTPS and MQTT over WebSocket. 0 means a free one, see
	// [Network.HTTPSAddr].
	HTTPSPort int
	// MQTTPort is the port for MQTT. 0 means a free one, see [Network.MQTTAddr].
	MQTTPort int
	// AMQPPort is the port where clients of AMQP learn that nobody speaks it. 0 means none: they
	// are refused by the operating system.
	AMQPPort int
	// CA signs the hosts' certificates. Nil means a new one, see [Network.CA].
	CA *CA
}

// sockets are the ports of a network on real sockets.
type sockets struct {
	https, mqtt net.Listener
	amqp        net.Listener // nil: none
}

// Listen returns an empty network on real sockets. It is reachable by any program that trusts its
// CA and resolves, or is told, its addresses; TLS server names tell the hosts apart. In this
// process DialContext connects by name.
func Listen(cfg ListenConfig) (*Network, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1"
	}
	https, err := net.Listen("tcp", net.JoinHostPort(cfg.Addr, strconv.Itoa(cfg.HTTPSPort)))
	if err != nil {
		return nil, fmt.Errorf("simnet: listen for HTTPS: %w", err)
	}
	mqtt, err := net.Listen("tcp", net.JoinHostPort(cfg.Addr, strconv.Itoa(cfg.MQTTPort)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("simnet: listen for MQTT: %w", err), https.Close())
	}
	s := &sockets{https: https, mqtt: mqtt}
	if cfg.AMQPPort != 0 {
		s.amqp, err = net.Listen("tcp", net.JoinHostPort(cfg.Addr, strconv.Itoa(cfg.AMQPPort)))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("simnet: listen for AMQP: %w", err), s.close())
		}
	}
	if cfg.CA == nil {
		cfg.CA = NewCA("Simulated Root", time.Now())
	}
	n := start(cfg.CA, s)
	n.tasks.Go(func() { n.acceptAll(https, protocolHTTPS) })
	n.tasks.Go(func() { n.acceptAll(mqtt, protocolMQTT) })
	if s.amqp != nil {
		n.tasks.Go(func() { n.acceptAll(s.amqp, protocolAMQP) })
	}
	return n, nil
}

func (s *sockets) close() error {
	err := errors.Join(s.https.Close(), s.mqtt.Close())
	if s.amqp != nil {
		err = errors.Join(err, s.amqp.Close())
	}
	return err
}

// acceptAll lets in connections until the listener is closed.
func (n *Network) acceptAll(l net.Listener, p protocol) {
	for {
		raw, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors, most likely: let some connections end.
			select {
			case <-time.After(10 * time.Millisecond):
				continue
			case <-n.done:
				return
			}
		}
		n.accept(raw, p, "", n.wasCounted(raw.RemoteAddr()))
	}
}

// wasCounted reports whether a connection comes from DialContext, which has counted it.
func (n *Network) wasCounted(client net.Addr) func() bool {
	return func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		key := client.String()
		counted := n.marked[key]
		delete(n.marked, key)
		return counted
	}
}

// protocolAddr is where DialContext finds a port.
func (n *Network) protocolAddr(p protocol) string {
	addr := n.HTTPSAddr()
	switch p {
	case protocolMQTT:
		addr = n.MQTTAddr()
	case protocolAMQP:
		addr = n.AMQPAddr()
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/rehome-iot/rehome/internal/memnet"
)

// DialContext connects to a host of the network by name, "host:443" or "host:8883"; it is what a
// client under test gets in place of net.Dialer's. On a network on sockets it also takes the ports
// really listened on.
//
// Its errors are a real dial's: *net.DNSError (IsNotFound for a name the network does not have),
// *net.OpError with syscall.ECONNREFUSED for another port, *net.OpError with ctx's error when that
// ends first.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	refused := &net.OpError{
		Op: "dial", Net: network, Addr: memnet.Addr(address),
		Err: os.NewSyscallError("connect", syscall.ECONNREFUSED),
	}
	p, served := n.protocolOf(port)
	target := n.countDial(name, p, served)
	for {
		if ctx.Err() != nil {
			return nil, &net.OpError{
				Op: "dial", Net: network, Addr: memnet.Addr(address), Err: ctx.Err(),
			}
		}
		fault, changed, ok := n.lookUp(target, p)
		switch {
		case !ok:
			return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{
				Err: "no such host", Name: name, IsNotFound: true,
			}}
		case fault == NameFailure:
			return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{
				Err: "server misbehaving", Name: name, IsTemporary: true,
			}}
		case fault == Refused:
			return nil, refused
		case fault == Blackhole:
			select { // as a TCP SYN that is sent again and again: lifting the fault lets it through
			case <-ctx.Done():
			case <-changed:
			case <-n.done:
				return nil, refused
			}
			continue
		}
		if !served {
			return nil, refused
		}
		if n.real != nil {
			return n.dialSocket(ctx, p)
		}
		return n.dialMemory(target, address, p, refused)
	}
}

// countDial counts an attempt, and returns the host it is for: the name itself, or the default host
// for addresses that are no names.
func (n *Network) countDial(name string, p protocol, served bool) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	target := canonical(name)
	if h := n.hosts[target]; h == nil && isLocal(target) {
		target = n.fallback
	}
	if target != "" {
		n.host(target).countDial(p, served)
	}
	return target
}

// isLocal reports whether a name means "this machine" rather than a host of the network.
func isLocal(name string) bool { return name == "localhost" || net.ParseIP(name) != nil }

// lookUp resolves a name, and returns what a connection to one of its ports meets.
func (n *Network) lookUp(
	target string, p protocol,
) (fault Fault, changed <-chan struct{}, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[target]
	if h == nil || h.fault == NameNotFound || h.site == nil && h.fault == None {
		return None, nil, false
	}
	return h.currentFault(p), n.changed, true
}

func (n *Network) protocolOf(port string) (protocol, bool) {
	for d, standard := range map[protocol]string{
		protocolHTTPS: "443", protocolMQTT: "8883", protocolAMQP: "5671",
	} {
		if port == standard {
			return d, d != protocolAMQP || n.real == nil || n.real.amqp != nil
		}
		if n.real != nil {
			if _, p, err := net.SplitHostPort(n.protocolAddr(d)); err == nil && p == port {
				return d, true
			}
		}
	}
	return 0, false
}

func (n *Network) dialSocket(ctx context.Context, p protocol) (net.Conn, error) {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", n.protocolAddr(p))
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.marked[nc.LocalAddr().String()] = true
	n.mu.Unlock()
	return nc, nil
}

func (n *Network) dialMemory(target, address string, p protocol, refused error) (net.Conn, error) {
	n.mu.Lock()
	n.lastClient++
	number := n.lastClient
	n.mu.Unlock()
	client, server := memnet.Pipe(fmt.Sprintf("client-%d:50000", number), address)
	if !n.accept(server, p, target, func() bool { return true }) {
		return nil, refused
	}
	return client, nil
}

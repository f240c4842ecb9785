// SPDX-License-Identifier: Apache-2.0

package simnet

import "time"

// Port is one of the ports that every host has, by the number that clients dial. On a network on
// sockets it means the port that stands for it.
type Port int

// The ports.
const (
	// PortHTTPS is that of HTTPS and of MQTT over WebSocket.
	PortHTTPS Port = 443
	// PortMQTT is that of MQTT.
	PortMQTT Port = 8883
	// PortAMQP is that of AMQP, which no simulator speaks: those that are an [AMQPSite] say so.
	PortAMQP Port = 5671
)

// portState is what is wrong with one port of a host.
type portState struct {
	fault Fault
	kind  CertificateKind
	dials int
}

// protocol returns what is spoken at a port; ok is false where that is none of the ports.
func (p Port) protocol() (_ protocol, ok bool) {
	switch p {
	case PortHTTPS:
		return protocolHTTPS, true
	case PortMQTT:
		return protocolMQTT, true
	case PortAMQP:
		return protocolAMQP, true
	}
	return 0, false
}

// SetPortFault sets what new connections to one port of a host meet, as SetFault does for all: a
// firewall closes the one and lets the other through. A fault of the whole host goes before it. A
// name has no ports: NameNotFound and NameFailure are as Refused here. Any other port
// has no faults.
func (n *Network) SetPortFault(name string, port Port, f Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, ok := port.protocol(); ok {
		n.host(name).ports[p].fault = f
		n.announce()
	}
}

// SetPortCertificate sets which certificate one port of a host shows on new connections, as
// SetCertificate does for all: a captive portal or an inspecting proxy often answers on port 443
// alone. A certificate of the whole host other than Valid goes before it.
func (n *Network) SetPortCertificate(name string, port Port, kind CertificateKind) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, ok := port.protocol(); ok {
		n.host(name).ports[p].kind = kind
	}
}

// PortDials returns how many of a host's Dials were to one port.
func (n *Network) PortDials(name string, port Port) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, ok := port.protocol(); ok {
		return n.host(name).ports[p].dials
	}
	return 0
}

// countDial counts a dial to the host; its port is counted where it is one of those known.
func (h *host) countDial(p protocol, known bool) {
	h.dials++
	if known {
		h.ports[p].dials++
	}
}

// currentFault returns what a connection to a port of the host meets now.
func (h *host) currentFault(p protocol) Fault {
	switch f := h.ports[p].fault; {
	case h.fault != None:
		return h.fault
	case time.Now().Before(h.down), f == NameNotFound, f == NameFailure:
		return Refused
	default:
		return f
	}
}

// certificateKind returns what is wrong with the certificate that a port of the host shows.
func (h *host) certificateKind(p protocol) CertificateKind {
	if h.kind != Valid {
		return h.kind
	}
	return h.ports[p].kind
}

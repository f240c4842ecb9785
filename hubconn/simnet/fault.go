package simnet

import "time"

// Fault is what is wrong on the way to a host.
type Fault int

const (
	// None is a good way.
	None Fault = iota
	// NameNotFound makes the name not exist (NXDOMAIN).
	NameNotFound
	// NameFailure makes the name server fail (SERVFAIL).
	NameFailure
	// Refused makes the port refuse connections.
	Refused
	// Blackhole answers nothing to a dial, until its context ends or the fault is lifted.
	Blackhole
	// ResetOnAccept resets each connection as soon as it is open.
	ResetOnAccept
)

// String returns the fault's name.
func (f Fault) String() string {
	names := []string{"none", "name not found", "name failure", "refused", "blackhole", "reset on accept"}
	if f < 0 || int(f) >= len(names) {
		return "unknown fault"
	}
	return names[f]
}

// SetFault sets what new connections to a host meet. A client outside this process resolves names by itself and shows the host's name only in its
// TLS ClientHello: there NameNotFound, NameFailure and Refused become a reset, and a Blackhole answers that hello with silence.
func (n *Network) SetFault(name string, f Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host(name).fault = f
	n.announce()
}

// RefuseFor makes a host refuse new connections for so long, whatever its fault is: as a service that
// moves to another region does. Live connections stay; Cut resets them.
func (n *Network) RefuseFor(name string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host(name).down = time.Now().Add(d)
}

// Dials returns how many connections to a host have been tried: dialled by DialContext, faults included, or come in by a
// socket with the host's TLS server name.
func (n *Network) Dials(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.host(name).dials
}

// Cut resets every live connection to a host, and returns how many there were.
func (n *Network) Cut(name string) int {
	conns := n.to(name)
	for _, c := range conns {
		c.Reset()
	}
	return len(conns)
}

// CutAfter resets the next connection to a host once the server has sent so many bytes on it, TLS handshake and framing
// included (a handshake takes about one kilobyte). It holds for one connection.
func (n *Network) CutAfter(name string, bytes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host(name).cutAfter = max(bytes, 0)
}

// Stall stops the bytes, both ways, of live and new connections to a host, or lets them flow again. Nothing is closed, and a side that
// closes meanwhile is not noticed by the other.
func (n *Network) Stall(name string, on bool) {
	n.mu.Lock()
	n.host(name).stalled = on
	n.mu.Unlock()
	for _, c := range n.to(name) {
		c.Stall(on)
	}
}

// SetCertificate sets which certificate a host shows on new connections.
func (n *Network) SetCertificate(name string, kind CertificateKind) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host(name).kind = kind
}

// to returns the live connections to a host.
func (n *Network) to(name string) []*conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	var conns []*conn
	for c := range n.conns {
		if c.host == canonical(name) {
			conns = append(conns, c)
		}
	}
	return conns
}

// forget drops a connection that has ended.
func (n *Network) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

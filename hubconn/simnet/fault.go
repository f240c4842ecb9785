// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Fault is what is wrong on the way to a host. In JSON it is its text.
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

var faultNames = []string{
	"none", "nameNotFound", "nameFailure", "refused", "blackhole", "resetOnAccept",
}

// String returns the fault's text: the constant's name with a lower-case first letter, as
// "nameNotFound". A value that is no fault gives "unknown fault".
func (f Fault) String() string {
	if f < 0 || int(f) >= len(faultNames) {
		return "unknown fault"
	}
	return faultNames[f]
}

// MarshalText returns the text that String does. A value that is no fault is an error.
func (f Fault) MarshalText() ([]byte, error) { return textOf(faultNames, int(f)) }

// UnmarshalText reads what MarshalText wrote; an empty text is None. An unknown text is an error
// that lists the known ones.
func (f *Fault) UnmarshalText(text []byte) error {
	i, err := indexOf(faultNames, text)
	if err == nil {
		*f = Fault(i)
	}
	return err
}

func textOf(names []string, i int) ([]byte, error) {
	if i < 0 || i >= len(names) {
		return nil, fmt.Errorf("simnet: %d has no name", i)
	}
	return []byte(names[i]), nil
}

func indexOf(names []string, text []byte) (int, error) {
	if len(text) == 0 {
		return 0, nil
	}
	if i := slices.Index(names, string(text)); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("%q is unknown: use %s", text, strings.Join(names, ", "))
}

// SetFault sets what new connections to a host meet. A client outside this process resolves names
// by itself and shows the host's name only in its TLS ClientHello: there NameNotFound, NameFailure
// and Refused become a reset, and a Blackhole answers that hello with silence.
func (n *Network) SetFault(name string, f Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host(name).fault = f
	n.announce()
}

// RefuseFor makes a host refuse new connections for so long, whatever its fault is: as a service
// that moves to another region does. Live connections stay; Cut resets them.
func (n *Network) RefuseFor(name string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host(name).down = time.Now().Add(d)
}

// Dials returns how many connections to a host have been tried: dialled by DialContext, faults
// included, or arrived by a socket with the host's TLS server name.
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

// CutAfter resets the next connection to a host once the server has sent so many bytes on it, TLS
// handshake and framing included (a handshake takes about one kilobyte). It holds for one
// connection.
func (n *Network) CutAfter(name string, bytes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host(name).cutAfter = max(bytes, 0)
}

// Stall stops the bytes, both ways, of live and new connections to a host, or lets them flow again.
// Nothing is closed, and a side that closes meanwhile is not noticed by the other.
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

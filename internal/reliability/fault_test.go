// SPDX-License-Identifier: Apache-2.0

package reliability_test

// fault is one of the ways in which an operation goes wrong.
type fault int

const (
	none     fault = iota
	refused        // the peer says no, in the words of the protocol
	reset          // a TCP RST
	stalled        // nothing comes any more, and nothing is closed
	half           // the peer ends its sending, in order, and reads on
	garbage        // bytes that are not the protocol's
	trickle        // the right bytes, one a second
	early          // the first part of the right bytes, and then the end
	portal         // somebody else answers in the peer's place, with a page for people
	faultEnd       // how many there are
)

var faultNames = [faultEnd]string{
	"none", "refused", "reset", "stall", "half", "garbage", "trickle", "early", "portal",
}

func (f fault) String() string { return faultNames[f] }

// layer is how far a client has got when the fault meets it.
type layer int

const (
	atNames     layer = iota // it asks for the address
	atDial                   // it opens the TCP connection
	atHandshake              // it has sent its ClientHello
	atRequest                // it has sent a request or packet
	atRest                   // it waits, and has sent nothing
)

// place is where on the way a fault is.
type place struct {
	layer layer
	// wanted are the parts of what begins the request: of "PUT /path" over HTTPS, of "CONNECT",
	// "SUBSCRIBE topic" or "PUBLISH topic" over MQTT.
	wanted []string
}

func request(wanted ...string) place { return place{atRequest, wanted} }

// Where each connection begins.
var (
	names     = place{layer: atNames}
	dialing   = place{layer: atDial}
	handshake = place{layer: atHandshake}
	rest      = place{layer: atRest}
)

// noise is what a fault garbage sends: no protocol begins with it. It is long enough for a reader
// that believes in a length at its beginning.
var noise = []byte("\xf7\x9b\x03\x00\xfe\x11\x80\x7f" + string(make([]byte, 4096)))

// page is what a captive portal answers, whatever it is asked.
const page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 40\r\n" +
	"Date: Sat, 01 Jan 2000 00:00:00 GMT\r\n\r\n<html><body>Welcome, guest</body></html>"

// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// Device keeps a device connected to the hub it belongs to. It remembers the assignment, connects
// there directly at every start, and goes back to DPS only when the hub's answer calls for it; the
// package documentation has the rules.
//
// Set the fields before the first call and leave them alone afterwards: not all are read again. The
// methods may be called from several goroutines at once, but only one of Run, Connect, and Send or
// Receive can be under way. A Device must not be copied after its first use.
type Device struct {
	// IDScope names the DPS instance, such as "0ne00ABCDEF": Azure portal, the instance's overview
	// page. Required. With a wrong one DPS refuses every registration.
	IDScope string

	// Attestation is who the device is. Required. One that is a [dps.Source] may change while the
	// device runs: it registers then, and a live connection moves to the new credential without
	// ending the session.
	Attestation dps.Attestation

	// SecondAttestation is shown where Attestation is refused, at once: the enrollment's secondary
	// key, or a second certificate. Its registration ID must be the same. What is remembered is
	// sealed by Attestation alone. Nil: there is none.
	SecondAttestation dps.Attestation

	// Issuance has DPS issue the certificate that the device shows to its hub, and renews it. Nil:
	// the hub is shown Attestation.
	Issuance *Issuance

	// Store is where the assignment is remembered, such as a [cache.Dir]. Nil remembers nothing:
	// every start asks DPS where the device belongs, which counts against the quota of
	// registrations and fails where DPS cannot be reached. One call of the Store is under way at a
	// time, and has 10 s: its context ends then, and a Store that has not returned a second later
	// has failed. The device goes on without, and asks nothing of the Store until it has returned.
	// A call of the device whose ctx ends while something is being stored returns after that. One
	// with a method Validate() error, as [cache.Dir] has, is asked by it first of all: a Dir that
	// names no directory is a wrong field, and no store that fails. One with a method
	// CallTimeout() time.Duration has that long for a call instead, if it is longer, 2 min at most:
	// such as one on several servers, which choose another to answer when one has died. The device
	// waits for it at its start, before it takes it for one that fails.
	Store cache.Store

	// Endpoint is the host of DPS, with a port if it is not the transport's own; a hub's name is
	// refused. Empty: [dps.DefaultEndpoint]. What is remembered holds for one endpoint: another one
	// registers anew.
	Endpoint string

	// Transport carries registrations. Zero, [dps.Auto]: HTTPS, or MQTT on port 8883 where DPS
	// cannot be reached so; an Endpoint with a port is for HTTPS alone. Any other is the only one.
	// Status lookups and clock checks use HTTPS whatever it is. That of the connection to the hub
	// is Hub.Transport.
	Transport dps.Transport

	// APIVersion is DPS's API version, such as "2021-06-01", which is the default. Versions before
	// 2019-03-31 know no payload.
	APIVersion string

	// UserAgent names the product to DPS and the hub. Empty: "rehome" and the platform. It shows in
	// the service's own records and in nothing else.
	UserAgent string

	// Payload is sent with every registration, for a custom allocation policy to read. It is
	// marshalled to JSON. Nil sends the ModelID, if there is one.
	Payload any

	// ModelID is the IoT Plug and Play model that the device implements, such as
	// "dtmi:com:example:thermostat;1". It is announced to the hub at every connection (Hub.ModelID,
	// if set, is announced instead) and, unless there is a Payload, to DPS as {"modelId": …}, where
	// an allocation of your own can read it. HTTPS has no place for it: a hub learns it from Run
	// and Connect, not from Send. Empty announces nothing.
	ModelID string

	// Hub holds the settings of the connection to the hub. Its Transport, if that is zero
	// ([hubconn.Auto]), is MQTT on port 8883, or MQTT over WebSocket on port 443 where the hub
	// cannot be reached so; any other is the only one. DialContext, TLSConfig, Proxy, UserAgent
	// and Logger are taken from the fields here where Hub leaves them empty.
	Hub hubconn.Dialer

	// DialContext opens the TCP connections to DPS and the hub, to a proxy's address if there is
	// one. Nil: a [net.Dialer]. It is called from several goroutines at once.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLSConfig is cloned for each connection to DPS and the hub. Set RootCAs for private roots,
	// and Time for a clock that is better than the system's. Nil: the public roots, as
	// [hubconn.Dialer.TLSConfig] has them, and the system's clock. The least version is TLS 1.2 in
	// any case, and the least RSA key of a server's chain has 2,048 bits; InsecureSkipVerify, and
	// RootCAs without a certificate, are refused. Without a ClientSessionCache the device keeps the
	// TLS sessions with its hubs itself, in memory.
	TLSConfig *tls.Config

	// Proxy chooses the proxy for connections to DPS and the hub, as [hubconn.Dialer.Proxy] does.
	// Nil: [http.ProxyFromEnvironment], which has none for MQTT on port 8883.
	Proxy func(*http.Request) (*url.URL, error)

	// Stagger spreads a fleet's first DPS request after a common event (first boot, a hub that is
	// gone) evenly over this time; about the number of devices divided by the quota (1,000 a minute
	// for each DPS instance). Zero asks at once, or as DPS has said ([dps.Assignment.Stagger]): set
	// a nanosecond to ask at once whatever it says. A connection to a remembered hub is never
	// delayed by it, nor is Reprovision.
	Stagger time.Duration

	// AfterRejection is what follows when the hub responds with a rejection (class
	// [hubconn.Rejected]). Zero: [Reregister].
	AfterRejection AfterRejection

	// Budget gives the device its turns at DPS and at its hub, where several devices of one process
	// share it: what a service has told one of them holds for all.
	// [github.com/rehome-iot/rehome/provisioning/fleet.Budget] is one. A device that waits
	// for its turn is [StateQueued]: that is no failed attempt, it ends with the call's ctx, and
	// one that waits for DPS goes on trying its hub. A connection by a client of the program's own,
	// after NextAttempt, takes no turn at the hub. Nil: the device waits for no other.
	Budget Budget

	// Retry adjusts the back-off. MinDelay raises the floor of 5 s (it cannot lower it), MaxDelay
	// replaces the cap of the hub's random delay, 5 min (and raises that of DPS, 1 h), Multiplier
	// is what that delay grows by with each failure (1: not at all); what follows a 429 of DPS
	// stays as it is. MaxAttempts bounds the failed attempts since the last stable connection, of
	// hub and DPS together, after which Run, Connect, Send, Receive and NextAttempt return the last
	// error; a connection that was lost before it was stable counts from the second one on, a
	// question for the time not at all. What the last one calls for belongs to it where that is due
	// within 30 s, or within Stagger: a device with one attempt that is turned away by its hub asks
	// DPS, and goes where that sends it. Zero: the delays of the package documentation, for ever.
	Retry retry.Policy

	// Trace observes the device. Nil observes nothing.
	Trace *Trace

	// Logger receives one line per change of state, one for the first message that the hub
	// acknowledges on each connection, and one for what goes wrong beside, each with the key device
	// (the registration ID) and, if a Module's, module. Failures have the keys cause, class,
	// status, code and tracking_id. A device that has not been connected for 10 min is a line at
	// [slog.LevelWarn], again after 1 h, 6 h and each day; what nothing but a person mends, such as
	// a wrong key, is one at [slog.LevelError], once for each cause until the next stable
	// connection. docs/logs.md has all messages and keys. No key and no token is in any. Nil logs
	// what is at LevelError to [slog.Default], and nothing else; a logger with
	// [slog.DiscardHandler] silences that too.
	Logger *slog.Logger

	mu   sync.Mutex
	core *core
}

// AfterRejection is what a device does whose hub turns it away.
type AfterRejection int

// What a device may do whose hub turns it away.
const (
	// Reregister asks DPS where the device belongs, at growing distances.
	Reregister AfterRejection = iota
	// KeepProbing tries this hub again at the same distances, and asks DPS for the time at most:
	// for devices that are disabled at their hub for a while, and nowhere else.
	KeepProbing
	// StopWhenRejected ends Run, Connect, Send and Receive with the hub's error, and the Run of a
	// Module that is rejected. A device with a key has DPS tell the time first, since a wrong clock
	// looks like a wrong key: where DPS does not answer, that takes a quarter of an hour or more.
	StopWhenRejected
)

// A Budget gives turns to the Devices that share it, and their Modules. It is called from several
// goroutines at once.
type Budget interface {
	// Enter joins those who want to send something to a service. It returns at once.
	Enter(Entrant) *Turn
}

// An Entrant is a device that wants to send something: a registration with its polls, a status
// lookup or a question for the time to DPS, or an attempt to connect to a hub, which is a request
// over HTTPS for Send and Receive.
type Entrant struct {
	_ [0]func() // never compared, which saves code in a device's program

	// RegistrationID is the device's.
	RegistrationID string

	// Host is the service: DPS's endpoint or a hub's host name.
	Host string

	// IDScope is that of DPS. Empty: Host is a hub.
	IDScope string

	// Known says that a hub has accepted the device before, in this process or an earlier one.
	Known bool

	// Clock says that DPS is asked for nothing but the time, whose answer says nothing of
	// registrations.
	Clock bool
}

// A Turn is an Entrant's.
type Turn struct {
	// Ready is closed when the turn has come. Nil: it has come already.
	Ready <-chan struct{}

	// Done is called once: when the exchange has ended, with nil or its failure; or, when it was
	// given up before its turn or during it, with the error of its context, as it is, which says
	// nothing of the service.
	Done func(error)
}

// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"cmp"
	"context"
	"crypto/x509"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// GlobalEndpoint is the host name every device of the public cloud asks first.
const GlobalEndpoint = "global.azure-devices-provisioning.net"

// Config says how a [Server] behaves. The zero Config is useful: it behaves as the service was
// recorded to behave. A Config is read once, by [New].
type Config struct {
	// IDScope is the tenant devices must name. Default "0ne00000001".
	IDScope string

	// Endpoint is the host name the server answers under. Default [GlobalEndpoint].
	Endpoint string

	// RetryAfter is what a response "assigning" asks the device to wait, in whole seconds, rounded
	// up. Default 3 s. Negative: such answers carry no Retry-After.
	RetryAfter time.Duration

	// RegistrationsPerMinute is how many registrations and status lookups together the tenant may
	// make in any 60 s. Default 1000. Negative: no limit.
	RegistrationsPerMinute int

	// PollsPer10s is how many operation polls one device may make in any 10 s. Default 5. Negative:
	// no limit.
	PollsPer10s int

	// ThrottleRetryAfter is the Retry-After of a response 429, in whole seconds, rounded up.
	// Default: the time until the limit allows a request again. Negative: such responses carry
	// none.
	ThrottleRetryAfter time.Duration

	// OperationLifetime is how long an operation can be polled. Later polls are answered 404203.
	// Default 24 h; the service's own value is not published.
	OperationLifetime time.Duration

	// RefuseConcurrent answers a register request 409203 while an earlier one of the same device
	// is still running.
	// Default: each request gets its own operation, all of them can be polled, and the newest
	// decides the assignment. (The service answers 409203 only to requests that truly collide; a
	// device that was restarted half-way must not be locked out.)
	RefuseConcurrent bool

	// UnknownEnrollmentCode answers a SAS token of a device that has no enrollment and no group.
	// Default: as a wrong key, since a service that cannot attest a device should not say what it
	// knows. 404201 is the other plausible answer.
	UnknownEnrollmentCode int

	// UnassignedLookup answers the status lookup of a device that never registered with 200 and
	// status "unassigned". Default: 404 with 404201.
	UnassignedLookup bool

	// ClockSkew is how long after its expiry a SAS token is still accepted. Default 0.
	ClockSkew time.Duration

	// AllocationPolicy is used for enrollments that name none: "hashed", "geoLatency" or "static".
	// Default "hashed", or "custom" when Allocate is set.
	AllocationPolicy string

	// Latencies is how far devices are from hubs, for the policy "geoLatency": by registration ID,
	// or "*" for all devices, and by the hub's host name. Hubs it does not tell are further away
	// than all it tells; hubs that are equally far share their devices as the policy "hashed" does.
	// [Server.SetLatency] changes it.
	Latencies map[string]map[string]time.Duration

	// Latency is asked about what Latencies does not tell. Nil: all hubs are equally far.
	Latency func(registrationID, hubHost string) time.Duration

	// Allocate plays the custom allocation webhook: it chooses the hub of devices whose policy is
	// "custom", and may return a payload for the device. It goes before the webhooks that
	// enrollments name. It is called without any lock held, by many goroutines at once, while the
	// device sees status "assigning"; its context ends with the network. An error fails the
	// registration with errorCode 400207.
	Allocate func(context.Context, Allocation) (Allocated, error)

	// Webhook is the client that calls the custom allocation webhooks of enrollments. Its Timeout
	// bounds a call, unless WebhookTimeout is shorter. Nil: a client that finds hosts of the
	// simulated network by name, and all others as the process does.
	Webhook *http.Client

	// WebhookTimeout is how long a webhook may take to answer; then the registration fails with
	// errorCode 400207. Webhooks are called once. Default 10 s; the service's own value is not
	// published.
	WebhookTimeout time.Duration

	// InitialTwinOverrides lets an initial twin that a custom allocation returns replace the twin
	// that would be migrated. Default: it counts where an initial twin does, at the first
	// assignment and when a device is reset. The service's documentation has said both.
	InitialTwinOverrides bool

	// AssignTime is how long the service takes to carry a registration out. Until then its
	// operation, its record and status lookups say "assigning", and hubs know nothing of it: a
	// device that moves lives at its old hub. How often the device asks meanwhile makes no
	// difference. Default: the Retry-After of the response, so a device that waits as it is told
	// to sees the outcome at its first poll. Negative: it is done when the register request is
	// answered. A custom allocation that takes longer makes it longer.
	AssignTime time.Duration

	// ServiceHost is a second host name the server answers under, that of the instance. Operators
	// are sent there by ServiceConnectionString. Default: the ID scope in lower case, and
	// ".azure-devices-provisioning.net".
	ServiceHost string

	// Issuer issues the certificates that enrollments have a policy for. Nil: one of its own, see
	// [Server.Issuer].
	Issuer *hubtest.Issuer

	// ServiceKey is the key of the access policy provisioningserviceowner, base64. Default: a
	// random one.
	ServiceKey string

	// ServiceOperationsPerMinute is how many requests operators may make in any 60 s. Default 1000.
	// Negative: no limit.
	ServiceOperationsPerMinute int

	// OverwriteEnrollments lets operators replace an enrollment without naming its ETag. Default:
	// such a request is answered 409, and If-Match must be the ETag or "*".
	OverwriteEnrollments bool
}

func (c Config) withDefaults() Config {
	if c.IDScope == "" {
		c.IDScope = "0ne00000001"
	}
	if c.Endpoint == "" {
		c.Endpoint = GlobalEndpoint
	}
	if c.RetryAfter == 0 {
		c.RetryAfter = 3 * time.Second
	}
	if c.AssignTime == 0 && c.RetryAfter > 0 {
		c.AssignTime = wholeSeconds(c.RetryAfter)
	}
	if c.RegistrationsPerMinute == 0 {
		c.RegistrationsPerMinute = 1000
	}
	if c.PollsPer10s == 0 {
		c.PollsPer10s = 5
	}
	if c.OperationLifetime == 0 {
		c.OperationLifetime = 24 * time.Hour
	}
	if c.WebhookTimeout <= 0 {
		c.WebhookTimeout = 10 * time.Second
	}
	if c.ServiceHost == "" {
		c.ServiceHost = strings.ToLower(c.IDScope) + ".azure-devices-provisioning.net"
	}
	if c.ServiceKey == "" {
		c.ServiceKey = newKey()
	}
	if c.ServiceOperationsPerMinute == 0 {
		c.ServiceOperationsPerMinute = 1000
	}
	if c.AllocationPolicy == "" {
		c.AllocationPolicy = PolicyHashed
		if c.Allocate != nil {
			c.AllocationPolicy = PolicyCustom
		}
	}
	return c
}

// A Server is one simulated provisioning service on a network. All methods are safe for concurrent
// use.
type Server struct {
	network *simnet.Network
	cfg     Config

	log    requestLog
	faults faultList
	quota  quotas

	// turn allows one assignment at a time. It is a channel and not a mutex, because a hub may take
	// its time to let go of a connection, and a goroutine that waits for a mutex would stop a
	// synctest bubble's clock.
	turn chan struct{}

	mu          sync.Mutex
	hubs        []*linkedHub
	individuals map[string]*IndividualEnrollment // by lower-case registration ID
	groups      map[string]*EnrollmentGroup      // by lower-case group ID
	authorities map[string]*x509.Certificate     // CAs by name, for caReferences
	records     map[string]*registration         // by lower-case registration ID
	// lower-case registration ID to the hub an operator chose
	moves      map[string]string
	operations map[string]*operation // by operation ID
	order      []*operation          // oldest first
	// the newest of each device, by lower-case registration ID
	latest     map[string]*operation
	latencies  map[string]map[string]time.Duration
	serviceKey string
	issuer     *hubtest.Issuer
	challenges map[string]challenge // by lower-case registration ID
}

// New starts a provisioning service on a network: it answers HTTPS on port 443, MQTT on port 8883
// and MQTT over WebSocket on port 443 under cfg.Endpoint and cfg.ServiceHost, and it becomes the
// network's default site. Network.Close ends it.
func New(n *simnet.Network, cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		network:     n,
		cfg:         cfg,
		log:         newRequestLog(),
		turn:        make(chan struct{}, 1),
		individuals: map[string]*IndividualEnrollment{},
		groups:      map[string]*EnrollmentGroup{},
		authorities: map[string]*x509.Certificate{},
		records:     map[string]*registration{},
		moves:       map[string]string{},
		operations:  map[string]*operation{},
		latest:      map[string]*operation{},
		latencies:   map[string]map[string]time.Duration{},
		serviceKey:  cfg.ServiceKey,
		challenges:  map[string]challenge{},
		issuer:      cmp.Or(cfg.Issuer, hubtest.NewIssuer(n, hubtest.IssuerConfig{})),
	}
	for id, hubs := range cfg.Latencies {
		for host, d := range hubs {
			s.SetLatency(id, host, d)
		}
	}
	if s.cfg.Webhook == nil {
		s.cfg.Webhook = s.webhookClient()
	}
	n.Handle(cfg.ServiceHost, s)
	n.Handle(cfg.Endpoint, s)
	n.SetDefault(cfg.Endpoint)
	return s
}

// IDScope returns the ID scope devices must name.
func (s *Server) IDScope() string { return s.cfg.IDScope }

// Endpoint returns the host name the server answers under.
func (s *Server) Endpoint() string { return s.cfg.Endpoint }

// ServiceHost returns the host name of the instance, which operators use.
func (s *Server) ServiceHost() string { return s.cfg.ServiceHost }

// foldID is how registration IDs and group IDs are looked up: they are case-insensitive.
func foldID(id string) string { return strings.ToLower(id) }

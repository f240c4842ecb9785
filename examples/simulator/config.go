// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// config is the configuration file.
type config struct {
	IDScope          string                         `json:"idScope"`
	AllocationPolicy string                         `json:"allocationPolicy"`
	Hubs             []hubConfig                    `json:"hubs"`
	Enrollments      []dpstest.IndividualEnrollment `json:"enrollments"`
	EnrollmentGroups []dpstest.EnrollmentGroup      `json:"enrollmentGroups"`
	Limits           limits                         `json:"limits"`
	Feed             feedConfig                     `json:"feed"`
	Webhook          webhookConfig                  `json:"webhook"`
	Issuer           issuerConfig                   `json:"issuer"`
	// of certificates that are issued: those that are valid for other than 30 days
	CertificatePolicies []certificatePolicy `json:"certificatePolicies"`
	// milliseconds, by registration ID (or *) and hub
	Latency map[string]map[string]float64 `json:"latency"`

	file string // where it was read; "" for the default
}

type hubConfig struct {
	HostName          string `json:"hostName"`
	AllocationWeight  *int   `json:"allocationWeight"`
	ConnectionProfile string `json:"connectionProfile"`
	// false: it learns of certificate authorities by a step of a scenario alone
	CredentialSync *bool `json:"credentialSync"`
}

// feedConfig bounds what the feed keeps for readers that come late.
type feedConfig struct {
	MaxEvents int `json:"maxEvents"` // 0: simnet.DefaultMaxEvents
	MaxBytes  int `json:"maxBytes"`  // 0: simnet.DefaultMaxEventBytes
}

// limits are those of the service. What is absent is as the service has it.
type limits struct {
	RegistrationsPerMinute *int `json:"registrationsPerMinute"` // 0: no limit
	PollsPer10s            *int `json:"pollsPer10s"`            // 0: no limit
	// seconds, of answers "assigning" and of 429; 0: none is sent
	RetryAfter *float64 `json:"retryAfter"`
	// seconds, of 429 alone; 0: none is sent
	ThrottleRetryAfter *float64 `json:"throttleRetryAfter"`
	// seconds, of a registration; 0: it is done at once
	AssignTime *float64 `json:"assignTime"`
}

// What there is without a configuration file.
const defaultGroup = "thermostats"

var defaultHubs = []hubConfig{
	{HostName: "hub-a.azure-devices.net"}, {HostName: "hub-b.azure-devices.net"},
}

func readConfig(f *flags) (*config, error) {
	c := &config{file: f.config}
	if f.config == "" {
		c.EnrollmentGroups = []dpstest.EnrollmentGroup{
			{EnrollmentGroupID: defaultGroup, Attestation: dpstest.Keys("", "")},
		}
	} else if err := decodeFile("-config", f.config, c); err != nil {
		return nil, err
	}
	if c.Hubs == nil {
		c.Hubs = defaultHubs
	}
	if f.idScope != "" {
		if !validScope(f.idScope) {
			return nil, fmt.Errorf("-id-scope %w", noScope(f.idScope))
		}
		c.IDScope = f.idScope
	}
	if f.webhook != "" {
		flagged := webhookConfig{URL: f.webhook}
		if err := flagged.check(); err != nil {
			return nil, fmt.Errorf("-webhook %w", err)
		}
		c.Webhook.URL = f.webhook
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", f.config, err)
	}
	return c, nil
}

// check finds what is wrong in the configuration itself. What is wrong in an enrollment is found
// when it is enrolled.
func (c *config) check() error {
	if c.IDScope != "" && !validScope(c.IDScope) {
		return fmt.Errorf("idScope: %w", noScope(c.IDScope))
	}
	seen := map[string]bool{dpstest.GlobalEndpoint: true}
	for i, h := range c.Hubs {
		where := fmt.Sprintf("hubs[%d].", i)
		name := strings.ToLower(h.HostName)
		if !validHost(name) {
			return fmt.Errorf(
				"%shostName: %q is no host name, such as hub-a.azure-devices.net", where,
				h.HostName,
			)
		}
		if seen[name] {
			return fmt.Errorf(
				"%shostName: %s is there already: every host has one name", where, h.HostName,
			)
		}
		seen[name] = true
		if w := h.AllocationWeight; w != nil && (*w < 1 || *w > 1000) {
			return fmt.Errorf("%sallocationWeight: %d is not 1 to 1000", where, *w)
		}
		switch h.ConnectionProfile {
		case "", hubtest.ProfileClassic, hubtest.ProfileMQTTV5:
		default:
			return fmt.Errorf(
				"%sconnectionProfile: %q is not classic or mqttV5", where, h.ConnectionProfile,
			)
		}
	}
	switch c.AllocationPolicy {
	case "", dpstest.PolicyHashed, dpstest.PolicyGeoLatency, dpstest.PolicyStatic:
	default:
		return fmt.Errorf("allocationPolicy: %q is not hashed, geoLatency or static (custom is "+
			"an enrollment's alone)", c.AllocationPolicy)
	}
	if err := c.Limits.check(); err != nil {
		return fmt.Errorf("limits.%w", err)
	}
	if err := c.Webhook.check(); err != nil {
		return fmt.Errorf("webhook.%w", err)
	}
	for name, n := range map[string]int{
		"maxEvents": c.Feed.MaxEvents, "maxBytes": c.Feed.MaxBytes,
	} {
		if n < 0 {
			return fmt.Errorf("feed.%s: %d is negative: 0 means the default", name, n)
		}
	}
	for device, hubs := range c.Latency {
		for hub, ms := range hubs {
			if !c.hasHub(hub) {
				return fmt.Errorf("latency[%q]: %q is none of the hubs", device, hub)
			}
			if ms < 0 {
				return fmt.Errorf("latency[%q][%q]: %v ms is negative", device, hub, ms)
			}
		}
	}
	return c.checkEnrollments()
}

// checkEnrollments finds what enrolling would not: what contradicts the rest of the file.
func (c *config) checkEnrollments() error {
	ids := map[string]bool{}
	for i, e := range c.Enrollments {
		if err := c.checkTerms(
			ids, e.RegistrationID, append(slices.Clone(e.IoTHubs), e.IoTHubHostName),
		); err != nil {
			return fmt.Errorf("enrollments[%d].%w", i, prefixed("registrationId", err))
		}
	}
	clear(ids)
	for i, g := range c.EnrollmentGroups {
		if err := c.checkTerms(
			ids, g.EnrollmentGroupID, append(slices.Clone(g.IoTHubs), g.IoTHubHostName),
		); err != nil {
			return fmt.Errorf("enrollmentGroups[%d].%w", i, prefixed("enrollmentGroupId", err))
		}
	}
	return nil
}

// twiceError is an ID that two enrollments, or two groups, have.
type twiceError string

func (id twiceError) Error() string { return fmt.Sprintf("%q is enrolled twice", string(id)) }

func (c *config) checkTerms(ids map[string]bool, id string, hubs []string) error {
	if ids[strings.ToLower(id)] {
		return twiceError(id)
	}
	ids[strings.ToLower(id)] = true
	for _, hub := range hubs {
		if hub != "" && !c.hasHub(hub) {
			return fmt.Errorf("iotHubs: %q is none of the hubs", hub)
		}
	}
	return nil
}

func prefixed(field string, err error) error {
	if _, ok := errors.AsType[twiceError](err); ok {
		return fmt.Errorf("%s: %w", field, err)
	}
	return err
}

func (l *limits) check() error {
	for name, n := range map[string]*int{
		"registrationsPerMinute": l.RegistrationsPerMinute, "pollsPer10s": l.PollsPer10s,
	} {
		if n != nil && *n < 0 {
			return fmt.Errorf("%s: %d is negative: 0 means no limit", name, *n)
		}
	}
	for name, s := range map[string]*float64{
		"retryAfter": l.RetryAfter, "throttleRetryAfter": l.ThrottleRetryAfter,
		"assignTime": l.AssignTime,
	} {
		if s != nil && (*s < 0 || *s > 86400) {
			return fmt.Errorf("%s: %v is not 0 to 86400 seconds; 0 means none", name, *s)
		}
	}
	return nil
}

// service is the configuration of the simulated DPS.
func (c *config) service() dpstest.Config {
	s := dpstest.Config{IDScope: c.IDScope, AllocationPolicy: c.AllocationPolicy}
	// Where dpstest has a default for zero, the file has zero for "none", which dpstest writes as a
	// negative number.
	count := func(n *int) int {
		switch {
		case n == nil:
			return 0
		case *n == 0:
			return -1
		}
		return *n
	}
	seconds := func(s *float64) time.Duration {
		switch {
		case s == nil:
			return 0
		case *s == 0:
			return -1
		}
		return time.Duration(*s * float64(time.Second))
	}
	s.RegistrationsPerMinute, s.PollsPer10s = count(c.Limits.RegistrationsPerMinute),
		count(c.Limits.PollsPer10s)
	s.RetryAfter, s.ThrottleRetryAfter = seconds(c.Limits.RetryAfter), seconds(c.Limits.RetryAfter)
	if c.Limits.ThrottleRetryAfter != nil {
		s.ThrottleRetryAfter = seconds(c.Limits.ThrottleRetryAfter)
	}
	s.AssignTime = seconds(c.Limits.AssignTime)
	for device, hubs := range c.Latency {
		row := map[string]time.Duration{}
		for hub, ms := range hubs {
			row[hub] = time.Duration(ms * float64(time.Millisecond))
		}
		if s.Latencies == nil {
			s.Latencies = map[string]map[string]time.Duration{}
		}
		s.Latencies[device] = row
	}
	return s
}

func (c *config) hubNames() []string {
	names := make([]string, len(c.Hubs))
	for i, h := range c.Hubs {
		names[i] = h.HostName
	}
	return names
}

func (c *config) hasHub(name string) bool {
	return slices.ContainsFunc(c.Hubs, func(h hubConfig) bool {
		return strings.EqualFold(h.HostName, name)
	})
}

// validScope holds for what stands in a path, a user name and the service's host name as it is.
func validScope(scope string) bool {
	for _, r := range scope {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9') {
			return false
		}
	}
	return len(scope) <= 63
}

func noScope(scope string) error {
	return fmt.Errorf(
		"%q is no ID scope: it has letters and digits only, at most 63, as in 0ne00000001", scope,
	)
}

func validHost(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-') {
				return false
			}
		}
	}
	return true
}

// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// StatusAssigned is the status of every [Assignment].
const StatusAssigned = "assigned"

// The other registration statuses. Azure REST API: Device Registration, EnrollmentStatus.
const (
	statusUnassigned = "unassigned"
	statusAssigning  = "assigning"
	statusFailed     = "failed"
	statusDisabled   = "disabled"
)

// A connection profile is an extensible string: what is not known is kept as it came, up to a
// length.
const (
	profileClassic = "classic"
	maxProfile     = 63
)

// isStatus is whether s is one of them, which only the service writes.
func isStatus(s string) bool {
	switch s {
	case StatusAssigned, statusUnassigned, statusAssigning, statusFailed, statusDisabled:
		return true
	}
	return false
}

// Assignment is DPS's decision where the device lives.
type Assignment struct {
	Hub            string // host name of the assigned hub, as the service spells it
	DeviceID       string // device ID at that hub; it may differ from the registration ID
	RegistrationID string // as asked
	Status         string // "assigned"
	// such as "initialAssignment" or "deviceDataReset"; "" if the service gave none
	Substatus string
	// which protocol the hub speaks, such as "classic" or "mqttV5", as the service spells it and 63
	// characters of it at most; "" if the service did not say ([Assignment.Classic])
	ConnectionProfile string
	// IssuedChain is the certificate that was issued for [Registration].CSR, with its issuers; nil
	// if none was asked for, and if the enrollment has no certificate policy. Nothing of it is
	// checked yet: [Chain.KeyPair] does that.
	IssuedChain Chain
	ETag        string          // of the registration record
	Payload     json.RawMessage // what the custom allocation webhook returned; nil if nothing
	// when the registration record was created; zero if absent or unreadable
	Created time.Time
	Updated time.Time // when it was last updated; zero if absent or unreadable
	// the service's clock when it answered (the Date header); zero if it did not say, and over
	// MQTT, which has none
	Date time.Time
}

// Classic reports whether the hub speaks what package hubconn does, MQTT 3.1.1 and HTTPS: the
// service names the connection profile "classic", in any letter case, or none. Only the API version
// 2026-11-02-preview names one, so with the default an assignment to a hub of another profile is
// not told from one that works.
//
// Azure REST API: Device Registration Result, connectionProfile.
func (a Assignment) Classic() bool {
	return a.ConnectionProfile == "" || strings.EqualFold(a.ConnectionProfile, profileClassic)
}

// LongestStagger is the longest time that [Assignment.Stagger] returns.
const LongestStagger = 7 * 24 * time.Hour

var errStagger = errors.New(
	"staggerSeconds in the payload's member rehome is not a number from 0 to 604800")

// Stagger is what a custom allocation has said in its payload, as the number of seconds over which
// the fleet's devices are to spread their next question to DPS:
//
//	{"rehome": {"staggerSeconds": 63158}}
//
// 0 if it has said nothing. The error tells one that says it wrongly.
func (a Assignment) Stagger() (time.Duration, error) {
	var payload struct{ Rehome json.RawMessage }
	if json.Unmarshal(a.Payload, &payload) != nil || payload.Rehome == nil {
		return 0, nil // it is the program's own affair, or there is none
	}
	var hint struct{ StaggerSeconds float64 }
	err := json.Unmarshal(payload.Rehome, &hint)
	if s := hint.StaggerSeconds; err != nil || s < 0 || s > LongestStagger.Seconds() {
		return 0, errStagger
	}
	return time.Duration(hint.StaggerSeconds * float64(time.Second)), nil
}

// Target is where to connect.
func (a Assignment) Target() hubconn.Hub { return hubconn.Hub{Host: a.Hub, DeviceID: a.DeviceID} }

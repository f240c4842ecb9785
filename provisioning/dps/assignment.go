package dps

import (
	"encoding/json"
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
	ETag      string          // of the registration record
	Payload   json.RawMessage // what the custom allocation webhook returned; nil if nothing
	// when the registration record was created; zero if absent or unreadable
	Created time.Time
	Updated time.Time // when it was last updated; zero if absent or unreadable
	// the service's clock when it answered; zero over MQTT, which does not tell it
	Date              time.Time
	ConnectionProfile string
}

func (a Assignment) Classic() bool { return true }

// Target is where to connect.
func (a Assignment) Target() hubconn.Hub { return hubconn.Hub{Host: a.Hub, DeviceID: a.DeviceID} }

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// scenario is the file of faults: what happens when, counted from the ready line.
type scenario struct {
	Steps []step `json:"steps"`
	// starts the scenario over after this time; 0: it is played once
	Repeat simnet.Duration `json:"repeat"`
}

// step is one moment of a scenario: one thing that happens, and perhaps its end.
type step struct {
	At  simnet.Duration `json:"at"`
	For simnet.Duration `json:"for"` // how long network and clockOffset last; 0: for good

	Network *networkStep `json:"network"`
	Cut     string       `json:"cut"` // resets the live connections to a host
	// sets the services' clock against this machine's
	ClockOffset *simnet.Duration `json:"clockOffset"`
	DPS         *dpstest.Fault   `json:"dps"`
	Hub         *hubFault        `json:"hub"`
	Move        *placement       `json:"move"`       // at the device's next registration
	MoveNow     *placement       `json:"moveNow"`    // at once: its hub rejects it from now on
	Disable     string           `json:"disable"`    // an enrollment or a group
	Enable      string           `json:"enable"`     // an enrollment or a group
	Unlink      string           `json:"unlink"`     // a hub
	Link        string           `json:"link"`       // a hub
	Disconnect  *deviceAt        `json:"disconnect"` // closes a device's connection
	Clear       bool             `json:"clear"`      // takes back all that dps and hub injected

	Enrollment *enrollmentStep `json:"enrollment"` // changes policies
	Weight     *weightStep     `json:"weight"`     // of a hub in the allocation
	Method     *methodStep     `json:"method"`     // calls a direct method
	Desired    *desiredStep    `json:"desired"`    // changes a twin's desired properties

	RevokeDevice    *deviceAt       `json:"revokeDevice"`    // the certificates of a device
	RevokeAuthority *authorityNames `json:"revokeAuthority"` // all certificates it has issued
	DeletePolicy    *policyNames    `json:"deletePolicy"`    // no more certificates under it
	SyncCredentials string          `json:"syncCredentials"` // a hub learns of the authorities
}

type networkStep struct {
	Host        string                 `json:"host"`
	Fault       simnet.Fault           `json:"fault"`
	Certificate simnet.CertificateKind `json:"certificate"`
	Stall       bool                   `json:"stall"`
}

type placement struct {
	RegistrationID string `json:"registrationId"`
	Hub            string `json:"hub"`
}

type deviceAt struct {
	Hub      string `json:"hub"`
	DeviceID string `json:"deviceId"`
}

// hubFault is a fault and the hub that has it.
type hubFault struct {
	Host string `json:"host"`
	hubtest.Fault
}

// UnmarshalJSON reads both: the fault's own method would leave the host out.
func (f *hubFault) UnmarshalJSON(data []byte) error {
	host := struct {
		Host *string `json:"host"`
	}{&f.Host}
	if err := json.Unmarshal(data, &host); err != nil {
		return err
	}
	return json.Unmarshal(data, &f.Fault)
}

var transports = []string{dpstest.HTTPS, dpstest.MQTT, dpstest.WebSocket}

// readScenario reads and checks a scenario; hubs are those of the configuration. Without a file
// there is none.
func readScenario(file string, hubs []string) (*scenario, error) {
	s := new(scenario)
	if file == "" {
		return s, nil
	}
	if err := decodeFile("-faults", file, s); err != nil {
		return nil, err
	}
	if err := s.check(hubs); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// check finds what is wrong in a scenario. Its errors start with the field.
func (s *scenario) check(hubs []string) error {
	var last simnet.Duration
	for i := range s.Steps {
		if err := s.Steps[i].check(hubs); err != nil {
			return fmt.Errorf("steps[%d].%w", i, err)
		}
		last = max(last, s.Steps[i].At+s.Steps[i].For)
	}
	if s.Repeat != 0 && s.Repeat < max(last, simnet.Duration(time.Second)) {
		return fmt.Errorf(
			"repeat: %s is too short: the last step ends after %s", s.Repeat, last,
		)
	}
	return nil
}

// check finds what is wrong in a step. Its errors start with the field.
func (s *step) check(hubs []string) error {
	actions := 0
	for _, there := range []bool{
		s.Network != nil, s.Cut != "", s.ClockOffset != nil, s.DPS != nil, s.Hub != nil,
		s.Move != nil, s.MoveNow != nil, s.Disable != "", s.Enable != "", s.Unlink != "",
		s.Link != "", s.Disconnect != nil, s.Clear, s.Enrollment != nil, s.Weight != nil,
		s.Method != nil, s.Desired != nil, s.RevokeDevice != nil, s.RevokeAuthority != nil,
		s.DeletePolicy != nil, s.SyncCredentials != "",
	} {
		if there {
			actions++
		}
	}
	switch {
	case actions != 1:
		return fmt.Errorf(
			"at: the step does %d things: it must do exactly one, such as \"cut\" or \"dps\"",
			actions,
		)
	case s.At < 0 || s.For < 0:
		return errors.New("at: the time is negative")
	case s.For != 0 && s.Network == nil && s.ClockOffset == nil:
		return errors.New(
			"for: only network and clockOffset end by themselves; others have a step of their own",
		)
	}
	hub := func(field, name string) error {
		if !slices.ContainsFunc(hubs, func(h string) bool { return strings.EqualFold(h, name) }) {
			return fmt.Errorf("%s: %q is none of the hubs", field, name)
		}
		return nil
	}
	host := func(field, name string) error {
		if strings.EqualFold(name, dpstest.GlobalEndpoint) {
			return nil
		}
		return hub(field, name)
	}
	if err := s.checkChain(); err != nil {
		return err
	}
	switch {
	case s.Network != nil:
		return host("network.host", s.Network.Host)
	case s.Cut != "":
		return host("cut", s.Cut)
	case s.DPS != nil:
		if s.DPS.Transport != "" && !slices.Contains(transports, s.DPS.Transport) {
			return fmt.Errorf("dps.transport: %q is unknown: use %s, or leave it out",
				s.DPS.Transport, strings.Join(transports, ", "))
		}
		return checkFault("dps", s.DPS.Skip, s.DPS.Times, s.DPS.Status, s.DPS.Delay)
	case s.Hub != nil:
		if s.Hub.On == 0 {
			return errors.New("hub.on: is missing: a fault strikes at a stage, such as connect")
		}
		if err := checkFault(
			"hub", s.Hub.Skip, s.Hub.Times, s.Hub.Status, s.Hub.Delay,
		); err != nil {
			return err
		}
		return hub("hub.host", s.Hub.Host)
	case s.Move != nil:
		return hub("move.hub", s.Move.Hub)
	case s.MoveNow != nil:
		return hub("moveNow.hub", s.MoveNow.Hub)
	case s.Unlink != "":
		return hub("unlink", s.Unlink)
	case s.Link != "":
		return hub("link", s.Link)
	case s.Disconnect != nil:
		return hub("disconnect.hub", s.Disconnect.Hub)
	}
	return s.checkOperator(hub)
}

// checkFault finds numbers that mean nothing, and a status that no HTTP response can have.
func checkFault(field string, skip, times, status int, delay time.Duration) error {
	switch {
	case skip < 0:
		return fmt.Errorf("%s.skip: %d is negative", field, skip)
	case times < -1:
		return fmt.Errorf(
			"%s.times: %d is negative: -1 is until \"clear\", 0 is once", field, times,
		)
	case status != 0 && (status < 200 || status > 599):
		return fmt.Errorf("%s.status: %d is not 200 to 599", field, status)
	case delay < 0:
		return fmt.Errorf("%s.delay: %s is negative", field, delay)
	}
	return nil
}

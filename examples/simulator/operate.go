// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// The steps that are not trouble but an operator's work: what it takes to move devices.

// enrollmentStep changes the policies of an individual enrollment or of a group, one of the two.
// What is left out stays as it is.
type enrollmentStep struct {
	RegistrationID    string                     `json:"registrationId"`
	EnrollmentGroupID string                     `json:"enrollmentGroupId"`
	ReprovisionPolicy *dpstest.ReprovisionPolicy `json:"reprovisionPolicy"`
	AllocationPolicy  string                     `json:"allocationPolicy"`
	IoTHubs           []string                   `json:"iotHubs"`
	WebhookURL        string                     `json:"webhookUrl"` // of the policy custom
}

type weightStep struct {
	Hub    string `json:"hub"`
	Weight int    `json:"weight"`
}

// methodStep calls a direct method where the device is connected.
type methodStep struct {
	DeviceID string         `json:"deviceId"`
	Name     string         `json:"name"`
	Payload  map[string]any `json:"payload"`
}

type desiredStep struct {
	Hub      string         `json:"hub"`
	DeviceID string         `json:"deviceId"`
	Patch    map[string]any `json:"patch"`
}

// methodTimeout is how long a device may take to answer.
const methodTimeout = 10 * time.Second

// checkOperator finds what is wrong in these steps; hub checks the name of one.
func (s *step) checkOperator(hub func(field, name string) error) error {
	switch {
	case s.Enrollment != nil:
		e := s.Enrollment
		if (e.RegistrationID == "") == (e.EnrollmentGroupID == "") {
			return errors.New(
				"enrollment.registrationId: name either it or enrollmentGroupId",
			)
		}
		for _, name := range e.IoTHubs {
			if err := hub("enrollment.iotHubs", name); err != nil {
				return err
			}
		}
	case s.Weight != nil:
		if s.Weight.Weight < 1 || s.Weight.Weight > 1000 {
			return fmt.Errorf("weight.weight: %d is not 1 to 1000", s.Weight.Weight)
		}
		return hub("weight.hub", s.Weight.Hub)
	case s.Method != nil:
		if s.Method.DeviceID == "" || s.Method.Name == "" {
			return errors.New("method.deviceId: a method has a deviceId and a name")
		}
	case s.Desired != nil:
		if len(s.Desired.Patch) == 0 {
			return errors.New("desired.patch: is missing: it is what changes")
		}
		return hub("desired.hub", s.Desired.Hub)
	default:
		return s.checkCertificates(hub)
	}
	return nil
}

// operate fills in what one of these steps does.
func (s *simulator) operate(st *step, m *moment) {
	switch {
	case st.Enrollment != nil:
		m.what = "change enrollment " + st.Enrollment.RegistrationID +
			st.Enrollment.EnrollmentGroupID
		m.do = func() error { return s.changeEnrollment(st.Enrollment) }
	case st.Weight != nil:
		m.what = fmt.Sprintf("weight of %s %d", st.Weight.Hub, st.Weight.Weight)
		m.do = func() error { return s.dps.SetWeight(st.Weight.Hub, st.Weight.Weight) }
	case st.Method != nil:
		m.what, m.slow = "call "+st.Method.Name+" of "+st.Method.DeviceID, true
		m.do = func() error { return s.invoke(st.Method) }
	case st.Desired != nil:
		m.what = "desired properties of " + st.Desired.DeviceID + " at " + st.Desired.Hub
		m.do = func() error {
			_, err := s.hub(st.Desired.Hub).PatchDesired(
				st.Desired.DeviceID, maps.Clone(st.Desired.Patch),
			)
			return err
		}
	default:
		s.certify(st, m)
	}
}

func (s *simulator) changeEnrollment(c *enrollmentStep) error {
	change := func(
		reprovision **dpstest.ReprovisionPolicy, allocation *string, hubs *[]string, host *string,
		custom **dpstest.CustomAllocationDefinition,
	) {
		if c.ReprovisionPolicy != nil {
			policy := *c.ReprovisionPolicy
			*reprovision = &policy
		}
		if c.AllocationPolicy != "" {
			*allocation = c.AllocationPolicy
		}
		if c.IoTHubs != nil {
			*hubs, *host = slices.Clone(c.IoTHubs), ""
		}
		if c.WebhookURL != "" {
			*custom = &dpstest.CustomAllocationDefinition{
				WebhookURL: c.WebhookURL, APIVersion: "2019-03-31",
			}
		}
	}
	if c.EnrollmentGroupID != "" {
		g, ok := s.dps.Group(c.EnrollmentGroupID)
		if !ok {
			return fmt.Errorf("there is no enrollment group %s", c.EnrollmentGroupID)
		}
		change(
			&g.ReprovisionPolicy, &g.AllocationPolicy, &g.IoTHubs, &g.IoTHubHostName,
			&g.CustomAllocationDefinition,
		)
		return s.dps.EnrollGroup(g)
	}
	e, ok := s.dps.Enrollment(c.RegistrationID)
	if !ok {
		return fmt.Errorf("there is no enrollment %s", c.RegistrationID)
	}
	change(
		&e.ReprovisionPolicy, &e.AllocationPolicy, &e.IoTHubs, &e.IoTHubHostName,
		&e.CustomAllocationDefinition,
	)
	return s.dps.Enroll(e)
}

// invoke calls a method at the hub where the device is.
func (s *simulator) invoke(m *methodStep) error {
	i := slices.IndexFunc(s.hubs, func(h *hubtest.Hub) bool { return h.Connected(m.DeviceID) })
	if i < 0 {
		return fmt.Errorf("%s is not connected to any hub: nobody can call it", m.DeviceID)
	}
	var payload any
	if m.Payload != nil {
		payload = m.Payload
	}
	status, _, err := s.hubs[i].Invoke(
		context.Background(), m.DeviceID, m.Name, payload,
		hubtest.InvokeOptions{ResponseTimeout: methodTimeout},
	)
	switch {
	case err != nil:
		return errors.New(strings.TrimPrefix(err.Error(), "hubtest: "))
	case status < 200 || status > 299:
		return fmt.Errorf("%s answers the method %s with status %d", m.DeviceID, m.Name, status)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"fmt"
	"net/http"
	"time"

	"github.com/rehome-iot/rehome/provisioning/dps"
)

// Codes of DPS.
const (
	codeNoRegistration = 404201 // of a status lookup: the device has not registered yet
)

// dpsStep tells what DPS answered, and what that means.
func (d *doctor) dpsStep(took time.Duration) Step {
	s := Step{Name: StepDPS, Result: OK, Took: max(took, 0)}
	failure := d.dps.failure()
	switch {
	case d.dps.err == nil:
		a := d.dps.assignment
		s.Saw = []string{"assigned to hub " + a.Hub + " as device " + a.DeviceID}
		if a.Substatus != "" {
			s.Saw = append(s.Saw, "substatus "+a.Substatus)
		}
		if stored := d.storedHub(); stored != "" && stored != a.Hub {
			s.Saw = append(s.Saw, "the store says "+stored+", which a start tries first: it "+
				"follows to "+a.Hub+" when that turns it away")
		}
		if d.dps.second {
			s.secondNeeded("dps")
		}
		if !a.Classic() {
			s.Result = Failed
			s.Cause = "that hub's connection profile is " + a.ConnectionProfile +
				": it does not speak mqtt 3.1.1"
			s.Fix = "assign the device to a hub of the classic profile"
		}
	case failure == nil && !d.dps.reached:
		return Step{Name: StepDPS, Result: Skipped, Cause: "it was not reached"}
	case failure == nil:
		s.Result, s.Cause = Failed, "it did not answer: "+lastText(d.dps.err)
		s.Fix = "nothing at the device: it tries again by itself"
	default:
		s.Saw = sawOf(failure)
		s.Result, s.Cause, s.Fix = d.explainDPS(failure)
	}
	return s
}

// sawOf is what a refusal says.
func sawOf(e *dps.Error) (saw []string) {
	if e.Status != 0 {
		saw = append(saw, fmt.Sprintf("status %d %s", e.Status, http.StatusText(e.Status)))
	}
	if e.ReturnCode != 0 {
		saw = append(saw, fmt.Sprintf("connack return code %d", e.ReturnCode))
	}
	if e.State != "" {
		saw = append(saw, "the registration is "+e.State)
	}
	if e.Code != 0 {
		saw = append(saw, fmt.Sprintf("error code %d %q", e.Code, e.Message))
	}
	if e.Wait > 0 {
		saw = append(saw, "retry after "+e.Wait.String())
	}
	if e.TrackingID != "" {
		saw = append(saw, "tracking id "+e.TrackingID)
	}
	return saw
}

// explainDPS says what a refusal means.
func (d *doctor) explainDPS(e *dps.Error) (result Result, cause, fix string) {
	id, scope := d.Device.Attestation.RegistrationID(), d.Device.IDScope
	switch {
	case !e.Answered():
		return Failed, "a proxy or firewall answered in the place of dps",
			"allow " + d.host() + " there"
	case e.Status == http.StatusTooManyRequests:
		return Failed, "dps throttles: more devices register at once than its quota allows",
			"wait: the device asks again by itself; set -stagger for a fleet that starts together"
	case e.Status >= 500:
		return Failed, "dps is in trouble",
			"wait: the device asks again by itself; azure's status page may say more"
	case e.State == "disabled":
		return Failed, "the enrollment of " + id + " is disabled",
			"enable it: azure portal, dps, manage enrollments"
	case e.State == "failed":
		return Failed, "the registration has failed inside dps: no hub is linked, or the " +
				"allocation of the enrollment finds none",
			"look at the enrollment's hubs and allocation policy"
	case e.State == "assigning":
		return OK, "a registration is under way", ""
	case e.State == "unassigned", e.Op == "lookup" && e.Code == codeNoRegistration:
		return OK, "the device has not registered yet: a start does it",
			"with -register it registers now, and shows what dps says to that"
	case e.Status == http.StatusNotFound:
		return Failed, "dps knows no id scope " + scope + " at " + d.host(),
			"correct -id-scope: azure portal, overview page of the dps instance"
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden, e.ReturnCode != 0:
		return Failed, "registration id " + id + ", id scope " + scope +
			" and the credential do not fit each other", d.fixCredential()
	}
	return Failed, "dps refuses the request", "look the error code up in azure's documentation"
}

// fixCredential says what to compare.
func (d *doctor) fixCredential() string {
	if _, key := d.Device.Attestation.(dps.SymmetricKey); key {
		return "compare -registration-id and -key with the enrollment (a group's device has a " +
			"key of its own: rehome derive-key), and -id-scope with the overview page of dps"
	}
	return "compare the certificate with the enrollment (its thumbprint, or the group's " +
		"authority and all between them in -cert), and -id-scope with the overview page of dps"
}

// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/retry"
)

// next says what the device would do by its rules after what was found: the tables in the
// documentation of package provisioning.
func (d *doctor) next() (lines []string) {
	ask := "asks dps by a status lookup, and registers if it is not assigned"
	if d.stored.Next == retry.Register {
		ask = "registers with dps"
	}
	hub := d.storedHub()
	if hub != "" {
		lines = append(lines, "a start connects to "+hub+", which it remembers, without any "+
			"request to dps")
	} else {
		lines = append(lines, "a start "+ask+d.spread())
	}
	if hub == "" && d.dps.asked {
		lines = append(lines, d.afterDPS()...)
	}
	lines = append(lines, d.planned()...)
	if d.hub.host != "" && d.hub.tried() && (hub != "" || d.dps.assigned()) {
		lines = append(lines, d.afterHub())
	}
	return lines
}

// planned is what the waits say that a process has stored.
func (d *doctor) planned() (lines []string) {
	if at := d.stored.NextHub; !at.IsZero() {
		lines = append(lines, "by the waits that are stored, a start tries the hub at "+
			at.UTC().Format(time.RFC3339))
	}
	if at := d.stored.NextDPS; !at.IsZero() {
		lines = append(lines, "by the waits that are stored, a start asks dps at "+
			at.UTC().Format(time.RFC3339))
	}
	return lines
}

// spread is over what time the device's first question to DPS is spread, and who says so.
func (d *doctor) spread() string {
	if d.Device.Stagger > 0 {
		return fmt.Sprintf(", at a random time within %v (-stagger)", d.Device.Stagger)
	}
	newest := d.stored.Confirmed
	if d.stored.Candidate != nil {
		newest = d.stored.Candidate
	}
	if newest == nil {
		return ""
	}
	stagger, err := newest.Stagger()
	if err != nil || stagger == 0 {
		return ""
	}
	return fmt.Sprintf(", at a random time within %v (as dps has said)", stagger)
}

// afterDPS is what follows from DPS's answer where the device has none remembered.
func (d *doctor) afterDPS() []string {
	if d.dps.err == nil {
		return []string{"then it connects to " + d.dps.assignment.Hub + ", and remembers it"}
	}
	wait := retry.After(d.dps.err)
	verdict := retry.Classify(d.dps.err)
	if f := d.dps.failure(); f != nil && f.Status == http.StatusNotFound &&
		f.Code != codeNoRegistration {
		verdict = retry.Stop // there is no such id scope, which a registration is told, too
	}
	switch verdict {
	case retry.Register:
		if d.stored.Next == retry.Register {
			return nil
		}
		return []string{"dps does not have it assigned, so it registers at once"}
	case retry.Stop:
		return []string{
			"dps refuses it: it reports that and asks again after 1, 5 and 15 minutes, then " +
				"every hour or so; another key, id or id scope asks at once",
		}
	}
	if wait > 0 {
		return []string{"it asks dps again " + from(wait) + ", at a random moment after that"}
	}
	return []string{"it asks dps again after 5 to 10 s, then at growing distances up to an hour"}
}

func from(wait time.Duration) string {
	return "no earlier than in " + wait.Round(time.Second).String()
}

// afterHub is what follows from the hub's answer.
func (d *doctor) afterHub() string {
	if d.hub.err == nil {
		return "the hub accepts it: it stays connected"
	}
	grow := "then at growing distances up to 5 minutes"
	lookup := "; after 15 to 30 minutes of that it asks dps where it belongs"
	if name, ok := errors.AsType[*net.DNSError](d.hub.err); ok && name.IsNotFound {
		return "the hub's name does not exist: it tries again after 5 to 10 s, and registers " +
			"with dps after 3 tries over 2 minutes or more, if the name of dps does exist"
	}
	switch hubconn.ClassOf(d.hub.err) {
	case hubconn.Throttled:
		return "it tries the hub again " + from(retry.After(d.hub.err))
	case hubconn.Untrusted:
		return "it tries the hub again after a minute, " + grow + ", and never sends a " +
			"credential there" + lookup
	case hubconn.Rejected:
		line := "the hub turns it away: it registers with dps" + cmp.Or(d.spread(), " at once")
		if d.dps.assigned() && d.dps.assignment.Hub == d.hub.host {
			line += "; dps names the same hub, so hub and dps are asked again after 1, 5, 15, 30 " +
				"and 60 minutes until one of them has changed its mind"
		}
		return line
	case hubconn.Incompatible:
		return "it registers with dps after an hour, in case it has been assigned to another hub"
	}
	return "it tries the hub again after 5 to 10 s, " + grow + lookup
}

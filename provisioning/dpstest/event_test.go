// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// story is what a log has of a registration ID, a few words for each event.
func story(l *simnet.EventLog, id string) (lines []string) {
	events, _ := l.Read(0, 1000)
	for _, e := range events {
		if !strings.EqualFold(e.RegistrationID, id) {
			continue
		}
		words := []string{string(e.Kind)}
		for _, word := range []string{e.Transport, e.Operation, e.Method, e.Path, e.Reason} {
			if word != "" {
				words = append(words, word)
			}
		}
		if e.Status != 0 {
			words = append(words, fmt.Sprint(e.Status))
		}
		if e.RetryAfter != "" {
			words = append(words, "retry-after="+e.RetryAfter)
		}
		if r := e.Registration; r != nil {
			words = append(words, r.Status, r.Substatus, "from="+r.PreviousHub, "to="+e.Hub)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}

func TestRegistrationsAndRequestsAreRecorded(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		l := new(simnet.EventLog)
		w.net.RecordEvents(l)
		w.dps.Link(w.b)
		w.enroll("dev", func(e *dpstest.IndividualEnrollment) { e.IoTHubs = []string{hubA} })
		w.assigned("mqtt", "dev", version, byKey("dev", key1))
		w.assigned("https", "dev", version, byKey("dev", key1))
		assert.NoError(w.t, w.dps.MoveNow("dev", hubB))
		o := w.service()
		o.must("DELETE", "/registrations/dev", nil)
		o.must("GET", "/enrollments/dev", nil)
		o.refused(404, "GET", "/enrollments/other", nil)
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503, RetryAfter: "7", Times: 1})
		w.https("dev", version, byKey("dev", key1)).register("")
		o.must("DELETE", "/enrollments/dev", nil) // has no record any more
		assert.Equal(w.t, []string{
			"request mqtt connect",
			"registration assigning  from= to=", "request mqtt register 202 retry-after=3",
			"registration assigned initialAssignment from= to=" + hubA, "request mqtt poll 200",
			"registration assigning  from=" + hubA + " to=",
			"request https register 202 retry-after=3",
			"registration assigned reprovisionedToInitialAssignment from=" + hubA + " to=" + hubA,
			"request https poll 200",
			"registration assigned deviceDataMigrated from=" + hubA + " to=" + hubB,
			"registration deleted  from=" + hubB + " to=",
			"service https DELETE /registrations/dev 204",
			"service https GET /enrollments/dev 200",
			"request https register 503 retry-after=7",
			"service https DELETE /enrollments/dev 204",
		}, story(l, "dev"))
		assert.Equal(w.t, []string{"service https GET /enrollments/other 404"}, story(l, "other"))
	})
}

func TestOperatorsRequestsAreLoggedWithMethodAndPath(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.service().refused(404, "GET", "/enrollments/a%20b", nil)
		requests := w.dps.Requests()
		last := requests[len(requests)-1]
		assert.Equal(w.t, "GET", last.Method)
		assert.Equal(w.t, "/enrollments/a%20b", last.Path)
	})
}

func TestRequestsThatAreNotAnsweredAreRecorded(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		l := new(simnet.EventLog)
		w.net.RecordEvents(l)
		w.enroll("dev")
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Cut: true, Times: 1})
		_, err := w.https("dev", version, byKey("dev", key1)).do(
			w.t.Context(), "PUT", "/"+scope+"/registrations/dev/register?api-version="+version, "",
		)
		assert.Error(w.t, err)
		w.dps.Inject(dpstest.Fault{On: dpstest.Connect, Cut: true, Times: 1})
		d, err := w.dialMQTT("mqtt", credential{})
		assert.NoError(w.t, err)
		d.connect("dev", userName("dev", version), token("dev", key1))
		d.ended()
		synctest.Wait()
		assert.Equal(w.t, []string{
			"request https register not answered", "request mqtt connect not answered",
		}, story(l, "dev"))
	})
}

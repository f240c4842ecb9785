// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/internal/mqtt"
	"github.com/rehome-iot/rehome/retry"
)

func TestErrorsAreOneLineThatTellsWhatHappened(t *testing.T) {
	hub := Hub{Host: "contoso.azure-devices.net", DeviceID: "dev1"}
	refused := classify(
		"connect", hub, &mqtt.RefusedError{Code: 5, Elapsed: 120 * time.Millisecond},
	)
	for want, err := range map[string]*Error{
		"hubconn: connect contoso.azure-devices.net/dev1: rejected: refused with return code 5 after 120ms":                                        refused,
		"hubconn: renew contoso.azure-devices.net/dev1: rejected: refused with return code 5 after 120ms":                                          classify("renew", hub, refused),
		"hubconn: connect contoso.azure-devices.net/dev1: incompatible: this hub does not speak MQTT 3.1.1: refused with return code 1 after 50ms": classify("connect", hub, &mqtt.RefusedError{Code: 1, Elapsed: 50 * time.Millisecond}),
		"hubconn: connection contoso.azure-devices.net/dev1: unreachable: EOF":                                                                     classify("connection", hub, io.EOF),
		"hubconn: send contoso.azure-devices.net/dev1: unreachable: EOF":                                                                           classify("send", hub, classify("connection", hub, io.EOF)),
		"hubconn: dial contoso.azure-devices.net/dev1: unreachable: a; b":                                                                          classify("dial", hub, errors.Join(errors.New("a"), errors.New("b"))),
		`hubconn: dial contoso.azure-devices.net/dev1: rejected: WebSocket upgrade refused with status 404, code 404001 DeviceNotFound, "gone", tracking ID 7`: {
			Op: "dial", Hub: hub, Class: Rejected, Status: 404, Code: 404001,
			Name: "DeviceNotFound", Message: "gone", TrackingID: "7"},
		"hubconn: dial contoso.azure-devices.net/dev1: server: WebSocket upgrade refused with status 502": {Op: "dial", Hub: hub, Class: Server, Status: 502, Code: 502000},
		"hubconn: dial a b/dev 1: unreachable": {Op: "dial", Hub: Hub{Host: "a\nb", DeviceID: "dev\r1"}},
	} {
		assert.Equal(t, want, err.Error())
	}
	assert.ErrorIs(t, classify("send", hub, refused), refused)
}

func TestWhatEachClassCallsFor(t *testing.T) {
	for class, row := range map[Class]struct {
		verdict retry.Verdict
		after   time.Duration
	}{
		Unreachable: {retry.Wait, 0},
		Throttled:   {retry.Wait, 10 * time.Second},
		Server:      {retry.Wait, 0},
		Untrusted:   {retry.Wait, time.Minute},
		Rejected:    {retry.Register, 0},
		Caller:      {retry.Stop, 0},

		Incompatible: {retry.Register, 0},
	} {
		e := &Error{Class: class}
		assert.Equal(t, row.verdict, e.Verdict(), class)
		assert.Equal(t, row.after, e.RetryAfter(), class)
		e.Wait = 7 * time.Second
		assert.Equal(t, 7*time.Second, e.RetryAfter(), "what was asked: %v", class)
	}
}

func TestTheRenewalIsDrawnFrom70To90Percent(t *testing.T) {
	assert.Equal(t, 42*time.Minute, renewAt(time.Hour, 0))
	assert.Equal(t, 48*time.Minute, renewAt(time.Hour, 0.5).Round(time.Second))
	assert.Equal(t, 54*time.Minute, renewAt(time.Hour, 1).Round(time.Second))
}

func TestTheCauseOfAnErrorOfAProgramsOwnNeedsNoOp(t *testing.T) {
	failed := &Error{ReturnCode: 5, Class: Rejected}
	assert.Equal(t, "refused with return code 5", failed.LogValue().Group()[0].Value.String())
}

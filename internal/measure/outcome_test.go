// SPDX-License-Identifier: Apache-2.0

package measure_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/measure"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

func TestAnOutcomeAtDPSIsOneWord(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{context.Canceled, "given_up"},
		{&dps.Error{Op: "register", Err: context.DeadlineExceeded}, "unreachable"},
		{&dps.Error{Op: "register", Err: x509.UnknownAuthorityError{}}, "untrusted"},
		{&dps.Error{Op: "register", Status: 429}, "throttled"},
		{&dps.Error{Op: "poll", Status: 503}, "server"},
		{&dps.Error{Op: "connect", ReturnCode: 3}, "server"},
		{&dps.Error{Op: "register", Status: 409}, "server"},
		{&dps.Error{Op: "register", Status: 401}, "refused"},
		{&dps.Error{Op: "register", Status: 200, State: "disabled"}, "refused"},
		{&dps.Error{Op: "validate"}, "refused"},
		{&dps.Error{Op: "lookup", Status: 404}, "not_registered"},
		{fmt.Errorf("over https: %w", &dps.Error{Status: 429}), "throttled"},
		{errors.New("the limiter's own"), "_OTHER"},
	} {
		assert.Equal(t, c.want, measure.OfDPS(c.err), "%v", c.err)
	}
}

func TestAnOutcomeAtAHubIsItsClass(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{context.Canceled, "given_up"},
		{&hubconn.Error{Class: hubconn.Rejected}, "rejected"},
		{&hubconn.Error{Class: hubconn.Unreachable, Err: context.Canceled}, "unreachable"},
		{errors.New("whatever"), "unreachable"},
	} {
		assert.Equal(t, c.want, measure.OfHub(c.err), "%v", c.err)
	}
}

func TestWhatKeepsADeviceFromBeingConnectedIsToldOfEitherService(t *testing.T) {
	refused := &dps.Error{Op: "register", Status: 401}
	assert.Equal(t, "refused", measure.OfStatus(&provisioning.Status{
		State: provisioning.StateWaiting, Err: refused,
	}))
	assert.Equal(t, "server", measure.OfStatus(&provisioning.Status{
		State: provisioning.StateWaiting, Err: &hubconn.Error{Class: hubconn.Server},
	}))
	assert.Empty(t, measure.OfStatus(&provisioning.Status{
		State: provisioning.StateConnected, Err: refused,
	}))
	assert.Empty(t, measure.OfStatus(&provisioning.Status{State: provisioning.StateWaiting}))
}

// Words of the program's own would make a time series each.
func TestAReasonIsOneOfFew(t *testing.T) {
	assert.Equal(t, "asked by the program", measure.Reason("asked by the program: ticket 4711"))
	assert.Equal(t, "rejected by the hub", measure.Reason("rejected by the hub"))
	assert.Equal(t, "connect", measure.Operation(provisioning.StateConnecting))
	assert.Equal(t, "send", measure.Operation(provisioning.StateSending))
	assert.Equal(t, "receive", measure.Operation(provisioning.StateReceiving))
}

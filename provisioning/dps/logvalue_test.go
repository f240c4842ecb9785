// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAnErrorLogsItselfInKeys(t *testing.T) {
	for want, err := range map[string]*Error{
		`e.cause="dps register: status 401 unauthorized: id scope, registration id and credential ` +
			`do not fit each other" e.class=rejected e.status=401 e.code=401002 ` +
			`e.tracking_id=abc e.message=Unauthorized`: {
			Op: "register", Endpoint: "dps.example.net", Status: 401, Code: 401002,
			TrackingID: "abc", Message: "Unauthorized",
		},
		`e.cause="dps poll: the registration is disabled" e.class=rejected e.status=200`: {
			Op: "poll", Status: 200, State: "disabled",
		},
		`e.cause="dps register: status 429 too many requests" e.class=throttled e.status=429`: {
			Op: "register", Status: 429, Wait: 17,
		},
		`e.cause="dps lookup: status 503 service unavailable" e.class=server e.status=503`: {
			Op: "lookup", Status: 503,
		},
		`e.cause="dps connect: no such host" e.class=unreachable`: {
			Op: "connect", Err: &net.DNSError{Name: "dps", IsNotFound: true},
		},
		`e.cause="dps validate: id scope is empty" e.class=caller`: {
			Op: "validate", Err: errors.New("id scope is empty"),
		},
		`e.cause="dps connect: refused with return code 3" e.class=server e.return_code=3`: {
			Op: "connect", ReturnCode: 3,
		},
	} {
		var out bytes.Buffer
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "e", err)
		assert.Contains(t, out.String(), "msg=x "+want)
	}
}

func TestWhatDoesNotFitIsToldFromWhatIsRefusedOtherwise(t *testing.T) {
	for _, err := range []*Error{
		{Op: "register", Status: 401}, {Op: "register", Status: 404, Code: 404201},
		{Op: "poll", Status: 401}, {Op: "connect", ReturnCode: 5}, {Op: "connect", ReturnCode: 4},
	} {
		assert.True(t, err.Mismatched(), "%v", err)
		assert.Contains(t, err.Error(), "do not fit each other")
	}
	for _, err := range []*Error{
		{Op: "lookup", Status: 404}, {Op: "poll", Status: 404, Code: 404203},
		{Op: "register", Status: 403}, {Op: "register", Status: 429}, {Op: "register", Status: 500},
		{Op: "poll", Status: 200, State: "disabled"}, {Op: "connect", ReturnCode: 3},
		{Op: "register", Status: 401, unmarked: true}, {Op: "validate", Err: errors.New("x")}, {},
	} {
		assert.False(t, err.Mismatched(), "%v", err)
		assert.NotContains(t, err.Error(), "do not fit each other")
	}
}

// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// The words for what went wrong, besides those of [retry.Class].
const (
	// GivenUp is what the device did not wait for the end of, and says nothing of the service.
	GivenUp = "given_up"
	// Refused is what DPS will not do, however often it is asked.
	Refused = "refused"
	// NotRegistered is a lookup, or a poll, of what DPS does not know.
	NotRegistered = "not_registered"
	// Other is what none of the words is for, as OpenTelemetry writes it.
	Other = "_OTHER"
)

// OfDPS is what went wrong with a request to DPS, in one word of a short list; "" if nothing did.
func OfDPS(err error) string {
	if word, done := ended(err); done {
		return word
	}
	failure, ok := errors.AsType[*dps.Error](err)
	if !ok {
		return Other
	}
	switch verdict := failure.Verdict(); {
	case failure.Status == http.StatusTooManyRequests:
		return retry.Throttled.String()
	case verdict == retry.Stop:
		return Refused
	case verdict == retry.Register:
		return NotRegistered
	case failure.Answered():
		return retry.Server.String()
	}
	if class := hubconn.ClassOf(failure.Err); class == retry.Untrusted {
		return class.String()
	}
	return retry.Unreachable.String()
}

// OfHub is what went wrong with an attempt at a hub, in one word of a short list; "" if nothing
// did.
func OfHub(err error) string {
	if word, done := ended(err); done {
		return word
	}
	return hubconn.ClassOf(err).String()
}

// ended is the word where nothing went wrong that a service could have had a part in.
func ended(err error) (word string, done bool) {
	switch err {
	case nil:
		return "", true
	case context.Canceled: // itself: one within another error is a failure
		return GivenUp, true
	}
	return "", false
}

// OfStatus is what keeps a device from being connected, in one word of the same list; "" if it is
// connected, or nothing has failed.
func OfStatus(s *provisioning.Status) string {
	if s.State == provisioning.StateConnected || s.Err == nil {
		return ""
	}
	if _, ok := errors.AsType[*dps.Error](s.Err); ok {
		return OfDPS(s.Err)
	}
	return OfHub(s.Err)
}

// Reason is why DPS is asked, without what a program or a module has added in its own words.
func Reason(reason string) string {
	if head, _, ok := strings.Cut(reason, ": "); ok {
		return head
	}
	return reason
}

// Operation is what an attempt at a hub was for.
func Operation(attempt provisioning.State) string {
	switch attempt {
	case provisioning.StateSending:
		return "send"
	case provisioning.StateReceiving:
		return "receive"
	}
	return "connect"
}

package provisioning

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// hubFailure is what the rules need to know of a failure at the hub.
func hubFailure(err error) rules.HubFailure {
	return rules.HubFailure{
		Class: hubconn.ClassOf(err), RetryAfter: retry.After(err), Dates: onlyDates(err),
	}
}

// nameNotFound is about host alone, not about a proxy on the way to it.
func nameNotFound(err error, host string) bool {
	failure, ok := errors.AsType[*net.DNSError](err)
	return ok && failure.IsNotFound && rules.SameHost(strings.TrimSuffix(failure.Name, "."), host)
}

// onlyDates says that a server's certificate failed for no other reason than the time.
func onlyDates(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

// dpsFailure is what the rules need to know of a failure at DPS.
func (c *core) dpsFailure(err error, source Source) rules.Event {
	e := rules.DPSFailed{RetryAfter: retry.After(err), Dates: onlyDates(err)}
	failure, ok := errors.AsType[*dps.Error](err)
	if !ok {
		return e
	}
	e.Operation, e.Silent = failure.OperationID, failure.Status == 0 && failure.ReturnCode == 0
	clockWasWrong := c.clock.learn(failure.Date) // whatever else DPS says
	verdict := failure.Verdict()
	switch {
	case verdict == retry.Register && source == SourceLookup:
		return rules.NotRegistered{}
	case verdict == retry.Register:
		e.Failure, e.Operation = rules.DPSOperationUnknown, ""
	case failure.Status == http.StatusTooManyRequests:
		e.Failure = rules.DPSThrottled
	case verdict == retry.Wait:
		e.Failure = rules.DPSUnavailable
	case failure.State != "" && source == SourceLookup:
		e.Failure = rules.DPSNotAssigned
	case failure.Status == http.StatusUnauthorized && c.usesToken:
		e.Failure = c.refusedToken(failure, clockWasWrong)
	default:
		e.Failure = rules.DPSRefused
	}
	return e
}

// refusedToken tells a wrong clock from a wrong key.
func (c *core) refusedToken(failure *dps.Error, clockWasWrong bool) rules.DPSFailure {
	_, doubtful := c.clock.doubts()
	switch {
	case clockWasWrong:
		return rules.DPSClockWrong
	case doubtful || failure.Date.IsZero():
		return rules.DPSClockUnknown
	}
	return rules.DPSRefused
}

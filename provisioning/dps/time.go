// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/https"
)

// Time returns DPS's time: the Date header of its response to a plain HTTPS request, to the second,
// over a connection whose certificate was verified. No credential is sent and nothing is
// registered. It uses HTTPS whatever Transport is.
//
// It works when the device's own clock (TLSConfig.Time, or the system's) is wrong in either
// direction. A certificate that fails by that clock is verified in full, chain and name, as of the
// moment it became valid, and the Date must then lie within the validity of every certificate of
// the chain. So who wants to lie about the time needs a certificate for the endpoint's name that an
// authority issued, if perhaps an expired one: bound the result from below by the newest time the
// device is sure of.
//
// Any answer tells the time, whatever its status: without a body there is little that marks it as
// the service's own, and a proxy that passes an answer on leaves its Date. Only what a proxy
// unmistakably says in its own name (407, 511 or a Proxy- header, without the service's
// x-ms-request-id) is no answer. After 429 and any 5xx the time comes together with an error, an
// [*Error] with that Status: DPS is there, and is to be left alone for a while all the same.
func (c *Client) Time(ctx context.Context) (time.Time, error) {
	if err := c.Validate(); err != nil {
		return time.Time{}, err
	}
	r, err := c.requestTime(ctx, c.anonymousClock(nil))
	if failed, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		if at, ok := bootstrapTime(failed.UnverifiedCertificates, c.now()); ok {
			r, err = c.requestTime(ctx, c.anonymousClock(func() time.Time { return at }))
		}
	}
	if err != nil {
		return time.Time{}, c.fail(&Error{Op: "time", Err: err})
	}
	if r.Status != http.StatusTooManyRequests && r.Status < http.StatusInternalServerError {
		return r.Date, nil
	}
	// What a front end asks for is heeded as it is of any other request.
	return r.Date, c.fail(responseOf(r).fail("time", nil))
}

// anonymousClock verifies certificates by now, or by the client's own clock if nil, and presents
// none.
func (c *Client) anonymousClock(now func() time.Time) *tls.Config {
	config := &tls.Config{}
	if c.TLSConfig != nil {
		config = c.TLSConfig.Clone()
	}
	config.Certificates, config.GetClientCertificate = nil, nil
	config.ClientSessionCache = nil // a resumed session would not show the chain
	if now != nil {
		config.Time = now
	}
	return config
}

func (c *Client) requestTime(
	ctx context.Context, config *tls.Config,
) (r https.Response, err error) {
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	o := c.httpsOptions(config, nil)
	o.Single = true
	conn, err := https.Open(o)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	r, err = conn.Do(ctx, https.Request{
		Method: http.MethodHead, URL: c.httpsURL(), Limit: c.requestTimeout(httpsRequestTimeout),
	})
	if err != nil {
		return r, err
	}
	if fromProxy(r) {
		return r, unreadable(
			"the answer, of status %d, is a proxy's, whose clock is not the service's", r.Status,
		)
	}
	if r.Date.IsZero() {
		return r, unreadable("the answer has no readable date header")
	}
	if !validAt(r.Chains, r.Date) {
		return r, unreadable(
			"the answer's date %s is outside the validity of the server's certificate",
			r.Date.Format(time.RFC3339),
		)
	}
	return r, nil
}

// fromProxy is whether a proxy says that it answered itself.
func fromProxy(r https.Response) bool {
	if r.RequestID != "" {
		return false
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Proxy-") {
			return true
		}
	}
	return r.Status == http.StatusProxyAuthRequired ||
		r.Status == http.StatusNetworkAuthenticationRequired
}

// bootstrapTime is the moment at which the chain that a server sent became valid, if the reason to
// refuse it may be our clock: some certificate of it is not valid now.
func bootstrapTime(sent []*x509.Certificate, now time.Time) (at time.Time, ok bool) {
	for _, certificate := range sent {
		if now.Before(certificate.NotBefore) || now.After(certificate.NotAfter) {
			ok = true
		}
		if certificate.NotBefore.After(at) {
			at = certificate.NotBefore
		}
	}
	return at.Add(time.Second), ok
}

// validAt is whether one of the chains is valid as a whole.
func validAt(chains [][]*x509.Certificate, date time.Time) bool {
	for _, chain := range chains {
		valid := true
		for _, certificate := range chain {
			valid = valid && !date.Before(certificate.NotBefore) &&
				!date.After(certificate.NotAfter)
		}
		if valid {
			return true
		}
	}
	return false
}

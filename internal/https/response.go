// SPDX-License-Identifier: Apache-2.0

package https

import (
	"bytes"
	"crypto/x509"
	"net/http"
	"time"
)

// Response is a response, read to its end.
type Response struct {
	// Status is the HTTP status, 100 or more.
	Status int
	// Header is the response's header.
	Header http.Header
	// Body is the whole body, up to MaxBody.
	Body []byte
	// RetryAfter is the Retry-After header as it came, for retry.ParseRetryAfter with Date; empty
	// when there was none.
	RetryAfter string
	// Date is the server's clock when it responded (the Date header); the zero time when it did not
	// say.
	Date time.Time
	// RequestID is the x-ms-request-id header, by which Azure support finds the request; empty when
	// there was none.
	RequestID string
	// Chains are the certificate chains of the server as they were verified.
	Chains [][]*x509.Certificate
}

// NewResponse reads the header of a response, also of one that came another way, such as the
// refusal of a WebSocket upgrade.
func NewResponse(status int, header http.Header, body []byte) Response {
	r := Response{
		Status: status, Header: header, Body: body,
		RetryAfter: header.Get("Retry-After"), RequestID: header.Get("X-Ms-Request-Id"),
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		r.Date = date.UTC() // the form of RFC 850 may bring a zone of its own
	}
	return r
}

// Marked reports whether the response has a header that only the service itself sets. Without it a
// proxy or a front end may have spoken in the service's place, which can be busy or broken but
// knows nothing of the device.
func (r Response) Marked(name string) bool { return r.Header.Get(name) != "" }

// IsHTML reports whether a body is a page for people: that of a proxy or a captive portal, since
// the services send JSON.
func IsHTML(body []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) }

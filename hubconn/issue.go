// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/mqtt"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/uuid"
)

// CredentialsAPIVersion is the Dialer.APIVersion with which a hub issues certificates over its
// topics: Microsoft's SDKs announce it for that (Azure/azure-iot-sdk:
// c/docs/eng/certificate-management.md). With another the hub may stay silent, or end the
// connection.
const CredentialsAPIVersion = "2025-08-01-preview"

// ErrNoAnswer is in the tree of the error of [Conn.IssueCertificate] when the hub has said nothing:
// it may not issue certificates over these topics at all.
var ErrNoAnswer = errors.New("no answer")

const (
	// issueTimeout is how long the hub may say nothing to a request, as Microsoft's SDKs have it.
	issueTimeout = 2 * time.Minute
	// repeatTimeout is what a request that is repeated over another link has of that at least.
	repeatTimeout = 30 * time.Second
	// keptTimeout is how long a request that the hub may have concluded already waits, before it is
	// sent, for the answer that the hub has kept: it follows the subscription. Crossing it, the
	// request would begin anew what is done.
	keptTimeout = 2 * time.Second
	// usualOperation is how long the hub works on a request if it does not say, and
	// longestOperation the most that is waited for in all.
	usualOperation   = 12 * time.Hour
	longestOperation = 24 * time.Hour
	// maxCSR is the largest request that the hub takes, in base64.
	maxCSR = 8 << 10
)

// toCertificates is at QoS 1: the hub keeps a certificate until it is acknowledged.
var toCertificates = subscription{issueResponses + "#", 1}

// CertificateRequest is what [Conn.IssueCertificate] asks for.
type CertificateRequest struct {
	// ID names the request: 4 to 36 letters, digits and hyphens, with no hyphen at either end. The
	// same ID again goes on with an earlier request, also over another connection and after a
	// restart. Default: a new random UUID.
	ID string
	// CSR is a PKCS #10 request in DER (RFC 2986), 6144 bytes at most, with the device ID as its
	// common name.
	CSR []byte
	// Replace takes the place of another request of the device that the hub still works on: of the
	// one with that ID, or of any if it is "*". Default: none, and the hub refuses a second request
	// with 409.
	Replace string
	// Accepted, if set, is called when the hub has accepted the request, and again when it says so
	// again; expires is until when it works on it, the zero time if it does not say. It is called
	// by the goroutine that called IssueCertificate, which waits for it.
	Accepted func(expires time.Time)
}

// PendingRequest is a request for a certificate that the hub works on.
type PendingRequest struct {
	// ID is the request's, for CertificateRequest.ID or Replace; empty if the hub does not tell it.
	ID string
	// Expires is when the hub gives it up; the zero time if it does not say.
	Expires time.Time
}

// IssueCertificate asks the hub for a certificate by a request that the device has signed, and
// returns the chain as the hub wrote it: base64 of DER or of PEM each, the device's own first. It
// does not check the chain, and the connection goes on with its present credential: SetCredential
// changes that. Dialer.APIVersion has to be CredentialsAPIVersion; modules get no certificates
// (Azure docs: iot/concept-certificate-renewal; Azure/azure-iot-sdk:
// c/docs/eng/certificate-management.md).
//
// It makes one request, and waits: two minutes for the hub to accept or refuse it, then for as long
// as the hub has said that it works on it, commonly 12 hours, 24 at most. When the link is replaced
// meanwhile, by a renewal or by SetCredential, the request is repeated over the next one with its
// ID. When the connection is lost, or ctx ends, the hub goes on with the request: call it again
// with the same ID, over the next connection. Before it sends the request again, it then waits for
// two seconds for the answer that the hub may have kept. An answer to another ID is dropped.
//
// Every error is an *Error, with the hub's status and code if it has answered, and the connection
// stays up. RetryAfter is the hub's own or, where it names none, what Microsoft advises: 1 s after
// a 429, 5 s after a 503, 5 min after a 500. By class:
//
//	caller     400 (400001, 400004, 400006, 400037, 400040): the request is wrong;
//	           403010: not in the hub's tier; 412001: there is nothing to replace;
//	           412005: no certificates are issued to the device; a field of r is wrong;
//	           the hub refuses the subscription
//	rejected   404001: the hub does not know the device
//	server     409 (409004, 409005): another request is being worked on, which Pending
//	           tells; 500, 503; an answer that is none; no answer (ErrNoAnswer)
//	throttled  429
func (c *Conn) IssueCertificate(ctx context.Context, r CertificateRequest) ([]string, error) {
	resumes := r.ID != ""
	if !resumes {
		r.ID = uuid.New()
	}
	if err := c.checkCertificateRequest(r); err != nil {
		return nil, &Error{Op: "certificate", Hub: c.hub, Class: Caller, Err: err}
	}
	if err := c.ended(ctx, "certificate"); err != nil {
		return nil, err
	}
	issues := c.certificates()
	waiter := issues.expect(r.ID)
	if waiter == nil {
		return nil, &Error{
			Op: "certificate", Hub: c.hub, Class: Caller,
			Err: fmt.Errorf("ID: request %s is under way already", r.ID),
		}
	}
	err := c.listenForCertificates(ctx)
	if err != nil {
		issues.forget(r.ID)
		return nil, err
	}
	defer c.ceaseToListen()
	defer issues.forget(r.ID) // before that: what still comes is for the next call
	i := &issuance{
		conn: c, request: r, waiter: waiter, left: issueTimeout,
		last: time.Now().Add(longestOperation), known: resumes,
	}
	a, err := i.await(ctx)
	if err != nil {
		return nil, err
	}
	return c.readIssueAnswer(a)
}

func (c *Conn) checkCertificateRequest(r CertificateRequest) error {
	switch {
	case c.hub.ModuleID != "":
		return errors.New("certificates are issued to devices, not to modules")
	case !validRequestID(r.ID):
		return fmt.Errorf("ID: %q %s", oneline.ASCII(r.ID, 64), requestIDRule)
	case r.Replace != "" && r.Replace != "*" && !validRequestID(r.Replace):
		return fmt.Errorf(
			"field Replace: %q is not *, and %s", oneline.ASCII(r.Replace, 64), requestIDRule,
		)
	case len(r.CSR) == 0:
		return errors.New("CSR is empty")
	case strings.HasPrefix(string(r.CSR), "-----BEGIN"):
		return errors.New("CSR is PEM: it has to be the DER inside")
	case base64.StdEncoding.EncodedLen(len(r.CSR)) > maxCSR:
		return fmt.Errorf(
			"CSR of %d bytes is larger than the %d that IoT Hub takes", len(r.CSR), maxCSR/4*3,
		)
	}
	return nil
}

const requestIDRule = "is not 4 to 36 letters, digits and hyphens, with no hyphen at either end"

func validRequestID(id string) bool {
	return len(id) >= 4 && len(id) <= 36 && strings.Trim(id, alphanumeric+"-") == "" &&
		id[0] != '-' && id[len(id)-1] != '-'
}

// listenForCertificates makes the subscription to answers. Without it there would be none; with it
// and without a call nobody would take them, so it stands while there is one.
func (c *Conn) listenForCertificates(ctx context.Context) error {
	issues := c.certificates()
	select {
	case issues.turn <- struct{}{}:
	case <-c.ctx.Done():
		return c.ended(ctx, "certificate")
	case <-ctx.Done():
		return c.ended(ctx, "certificate")
	}
	defer func() { <-issues.turn }()
	err := c.subscribe(ctx, "certificate", toCertificates)
	if err == nil {
		issues.listeners++
		return nil
	}
	if issues.listeners == 0 {
		c.unsubscribe(toCertificates) // the hub makes it also if nobody waits for that
	}
	if _, refused := errors.AsType[*mqtt.SubscribeError](err); refused {
		e := classify("certificate", c.hub, err)
		e.Class = Caller // a hub that does not issue certificates
		return e
	}
	return err
}

func (c *Conn) ceaseToListen() {
	issues := c.certificates()
	issues.turn <- struct{}{} // whoever has it does not wait: the subscription stands
	defer func() { <-issues.turn }()
	if issues.listeners--; issues.listeners == 0 {
		c.unsubscribe(toCertificates)
	}
}

// issuance is a call of IssueCertificate.
type issuance struct {
	conn    *Conn
	request CertificateRequest
	waiter  *issueWaiter
	left    time.Duration // of the hub's time to say something
	last    time.Time     // after which no until is believed
	until   time.Time     // how long the hub works on the request; zero: it has not accepted it yet
	sent    bool
	known   bool // to the hub, perhaps: by an earlier call
	bare    bool // what was sent last is without the request's Replace
	refused bool // over the one that it would have replaced, so that is to be sent again with it
}

// await returns the answer that ends the request.
func (i *issuance) await(ctx context.Context) (*issueAnswer, error) {
	for {
		if a := i.take(); a != nil {
			return a, nil
		}
		link := i.conn.current()
		if link != nil {
			if a, err := i.over(ctx, link); a != nil || err != nil {
				return a, err
			}
		}
		if err := i.conn.await(ctx, "certificate", link); err != nil {
			return nil, err
		}
	}
}

// take returns the answer that ends the request; nil while there is none. The request has Replace
// the first time only: it would replace itself then. Should the hub not have had it that time, it
// refuses it now over the one that is to be replaced, which ends nothing, also if the link does.
func (i *issuance) take() *issueAnswer {
	started, a := i.waiter.take()
	if started != nil {
		i.accept(started)
	}
	if a != nil && a.status == http.StatusConflict && i.bare && i.until.IsZero() {
		a.ack()
		i.refused = true
		return nil
	}
	return a
}

// over sends the request over a link, and waits for the answer; nil, nil if the link ends first.
func (i *issuance) over(ctx context.Context, link *mqtt.Conn) (*issueAnswer, error) {
	if i.sent {
		i.left = max(i.left, repeatTimeout)
	}
	for {
		begun := time.Now()
		a, err := i.exchange(ctx, link)
		i.left -= time.Since(begun)
		switch {
		case err == nil && a == nil: // once more, with Replace
		case err == nil:
			return a, nil
		case link.Context().Err() == nil:
			e := classify("certificate", i.conn.hub, err)
			if errors.Is(err, ErrNoAnswer) {
				e.Class = Server
			}
			return nil, e
		default:
			return i.take(), nil // it may have come just before the end
		}
	}
}

// exchange sends the request and waits for the answer; nil, nil if it is to be sent again. Where
// the hub may have concluded it already, it waits for what the hub has kept before that.
func (i *issuance) exchange(ctx context.Context, link *mqtt.Conn) (*issueAnswer, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	if (i.known || i.sent) && !i.refused {
		timer.Reset(keptTimeout)
	}
	for published := false; ; {
		select {
		case <-i.waiter.arrived:
			if a := i.take(); a != nil || i.refused {
				return a, nil
			}
			if published {
				timer.Reset(i.patience())
			}
		case <-timer.C:
			if published {
				return nil, i.silence()
			}
			published = true
			timer.Reset(i.patience()) // of the acknowledgement too
			if err := i.send(ctx, link); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-link.Context().Done():
			return nil, context.Cause(link.Context())
		}
	}
}

func (i *issuance) send(ctx context.Context, link *mqtt.Conn) error {
	replace := i.request.Replace
	if i.bare = i.sent && !i.refused && replace != ""; i.bare {
		replace = ""
	}
	i.sent, i.refused = true, false
	body, err := json.Marshal(struct {
		ID      string `json:"id"`
		CSR     []byte `json:"csr"`
		Replace string `json:"replace,omitempty"`
	}{i.conn.hub.DeviceID, i.request.CSR, replace})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, i.patience(), i.silence())
	defer cancel()
	return link.Publish(ctx, issueRequests+i.request.ID, 1, body)
}

// patience is how long the hub may say nothing.
func (i *issuance) patience() time.Duration {
	if i.until.IsZero() {
		return i.left
	}
	return time.Until(i.until)
}

func (i *issuance) silence() error {
	if i.until.IsZero() {
		return &noAnswer{fmt.Sprintf("no answer within %v", issueTimeout)}
	}
	return &noAnswer{"the hub accepted the request, and let its time go by"}
}

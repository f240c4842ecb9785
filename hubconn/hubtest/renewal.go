// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/rehome-iot/rehome/internal/mqttserver"
	"github.com/rehome-iot/rehome/internal/uuid"
)

// credentialFilter is where a device hears what came of its requests for certificates.
const credentialFilter = "$iothub/credentials/res/#"

const (
	// issueTime is how long it takes to issue a certificate. The service's own time is not
	// published.
	issueTime = time.Second
	// issueLifetime is how long the service works on a request. It was seen to be about 12 hours.
	issueLifetime = 12 * time.Hour
)

// issuing is a request for a certificate that the device has not heard the end of. It outlives
// connections. h.mu is held where it is read and written.
type issuing struct {
	rid         string
	correlation string
	expires     time.Time
	answer      *credentialAnswer // nil while it is worked on
	sentOn      *link             // where the answer is on its way; nil: nowhere
}

// credentialAnswer is a response to a request for a certificate.
type credentialAnswer struct {
	status int
	code   int
	body   []byte
}

// credentialInfo is the info of a refusal.
type credentialInfo struct {
	RequestID         string `json:"requestId,omitempty"`
	OperationExpires  string `json:"operationExpires,omitempty"`
	CorrelationID     string `json:"correlationId,omitempty"`
	CredentialError   string `json:"credentialError,omitempty"`
	CredentialMessage string `json:"credentialMessage,omitempty"`
}

// credentialExpiry has nine fractional digits, as it was seen.
const credentialExpiry = "2006-01-02T15:04:05.000000000Z"

func (o *issuing) info() *credentialInfo {
	return &credentialInfo{
		RequestID: o.rid, CorrelationID: o.correlation,
		OperationExpires: o.expires.UTC().Format(credentialExpiry),
	}
}

// failure is the info of a request that came to nothing.
func (o *issuing) failure(message string) *credentialInfo {
	info := o.info()
	info.CredentialError = "400000"
	info.CredentialMessage = cmp.Or(message, "the credential operation failed")
	return info
}

// credentialRefusal makes the error body of these topics: that of twins, with info and, where there
// is a wait, retryAfter in seconds.
func (h *Hub) credentialRefusal(
	status, code int, message string, info *credentialInfo, retryAfter int,
) *credentialAnswer {
	var body map[string]any
	_ = json.Unmarshal(errorBody(code, message, h.network.Now()), &body) // made a line ago
	body["info"] = info
	if retryAfter > 0 {
		body["retryAfter"] = retryAfter
	}
	raw, _ := json.Marshal(body) // what was decoded: cannot fail
	return &credentialAnswer{status: status, code: code, body: raw}
}

// serveRenewal takes a request for a certificate. What has no request ID, or comes before the
// subscription, gets no answer. An error ends the connection.
func (l *link) serveRenewal(ctx context.Context, to address, body []byte, ack func() error) error {
	rid, ok := requestID(to.bag)
	if err := ack(); err != nil || !ok || !l.subscribed(credentialFilter) {
		return err
	}
	f, struck := l.hub.strike(IssueStart, l.id)
	if !struck {
		l.respondRenewal(rid, l.hub.renew(l.id, rid, body))
		return nil
	}
	faulty := func(ctx context.Context) error {
		if f.performs() {
			_ = l.hub.renew(l.id, rid, body)
		}
		if err := l.applyFault(ctx, f); err != nil || f.NoAnswer || f.Stall {
			return err
		}
		answer := l.hub.faultyAnswer(f, nil)
		if answer == nil {
			answer = l.hub.renew(l.id, rid, body)
		}
		l.respondRenewal(rid, answer)
		return nil
	}
	if f.Delay > 0 {
		l.session.Go(faulty) // pings and other messages are served meanwhile
		return nil
	}
	return faulty(ctx)
}

// faultyAnswer is the response that a fault calls for, nil for none of its own.
func (h *Hub) faultyAnswer(f Fault, info *credentialInfo) *credentialAnswer {
	if f.Status == 0 && f.Code == 0 {
		return nil
	}
	status := cmp.Or(f.Status, f.Code/1000)
	wait, _ := strconv.Atoi(f.RetryAfter) // 0: none
	return h.credentialRefusal(
		status, cmp.Or(f.Code, status*1000), cmp.Or(f.Message, http.StatusText(status)), info, wait,
	)
}

// respondRenewal answers a request, and sends what the device has not heard of an earlier one.
func (l *link) respondRenewal(rid string, a *credentialAnswer) {
	h := l.hub
	h.logOperation(Operation{
		On: IssueStart, DeviceID: l.id, Transport: l.transport, Status: a.status, Code: a.code,
	})
	l.post(outgoing{message: l.credentialMessage(rid, a)})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offerCertificate(l)
}

func (l *link) credentialMessage(rid string, a *credentialAnswer) mqttserver.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	return mqttserver.Message{
		Topic:   "$iothub/credentials/res/" + strconv.Itoa(a.status) + "/?$rid=" + rid,
		Payload: a.body, QoS: l.subscriptions[credentialFilter],
	}
}

// renewal is a request for a certificate as a device writes it.
type renewal struct {
	id, csr, replace string
}

// replaceRule is that of request IDs which a request can replace, and "*" for any.
var replaceRule = regexp.MustCompile(`^(\*|[0-9A-Za-z][0-9A-Za-z-]{2,34}[0-9A-Za-z])$`)

// parseRenewal reads a request. It returns the code and text of a refusal.
func parseRenewal(body []byte) (r renewal, code int, problem string) {
	if len(bytes.TrimSpace(body)) == 0 {
		return r, codeArgumentInvalid, "the body is empty"
	}
	if !json.Valid(body) {
		return r, codeFormat, "the body is not JSON"
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return r, codeArgumentInvalid, "the body is not an object"
	}
	for name, raw := range members {
		field := map[string]*string{"id": &r.id, "csr": &r.csr, "replace": &r.replace}[name]
		if field == nil {
			return r, codeArgumentInvalid, "the body has a member that is not known"
		}
		if err := json.Unmarshal(raw, field); err != nil {
			return r, codeArgumentInvalid, name + " is not text"
		}
	}
	switch {
	case r.id == "" || r.csr == "":
		return r, codeArgumentInvalid, "id or csr is missing or empty"
	case r.replace != "" && !replaceRule.MatchString(r.replace):
		return r, codeArgumentInvalid, "replace is neither * nor a request ID"
	}
	return r, 0, ""
}

// renew begins to issue a certificate, or goes on with the request of the same ID.
func (h *Hub) renew(id, rid string, body []byte) *credentialAnswer {
	refuse := func(code int, message string) *credentialAnswer {
		return h.credentialRefusal(code/1000, code, message, nil, 0)
	}
	in, code, problem := parseRenewal(body)
	if code != 0 {
		return refuse(code, problem)
	}
	now := h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.devices[id]
	switch {
	case r == nil:
		return refuse(codeDeviceNotFound, "no such device")
	case in.id != id:
		return refuse(codeArgumentInvalid, "id is not the device's")
	case r.CertificatePolicy == "" || h.issuer == nil:
		return refuse(codeNoCredentials, "no certificates are issued to the device")
	}
	if err := h.issuer.CheckRequest(in.csr, h.namesOf(id)...); err != nil {
		return refuse(codeArgumentInvalid, issueProblem(err))
	}
	pending := r.issue
	if pending != nil && now.After(pending.expires) {
		pending = nil
	}
	switch {
	case in.replace != "":
		if pending == nil || in.replace != "*" && in.replace != pending.rid {
			return refuse(codePrecondition, "there is no such operation to replace")
		}
	case pending != nil && pending.rid == rid:
		pending.sentOn = nil // the device has not heard its end, it says
		return accepted(pending)
	case pending != nil:
		return h.credentialRefusal(
			http.StatusConflict, codeCredentialPending, "another operation is pending",
			pending.info(), int(issueTime/time.Second),
		)
	}
	o := &issuing{rid: rid, correlation: uuid.New(), expires: now.Add(issueLifetime)}
	r.issue = o
	issuer, policy, credential := h.issuer, r.CertificatePolicy, r.CredentialID
	names := h.namesOf(id)
	h.network.Go(func(ctx context.Context) {
		h.conclude(ctx, id, o, func(wrong ChainFault) ([]string, error) {
			return issuer.IssueFaulty(wrong, policy, credential, in.csr, names...)
		})
	})
	return accepted(o)
}

// namesOf are the common names that a request of a device may have: its device ID, and the name in
// the certificate it is connected with, which DPS issued to its registration ID; h.mu is held.
func (h *Hub) namesOf(id string) []string {
	names := []string{id}
	if l := h.links[id]; l != nil && l.cert != nil {
		names = append(names, l.cert.Subject.CommonName)
	}
	return names
}

func accepted(o *issuing) *credentialAnswer {
	info := o.info()
	body, _ := json.Marshal(map[string]string{ // strings: cannot fail
		"correlationId": info.CorrelationID, "operationExpires": info.OperationExpires,
	})
	return &credentialAnswer{status: http.StatusAccepted, body: body}
}

// issued is the response with a chain; with none, it has no member of that name.
func issued(o *issuing, chain []string) *credentialAnswer {
	members := map[string]any{"correlationId": o.correlation}
	if chain != nil {
		members["certificates"] = chain
	}
	body, _ := json.Marshal(members) // strings: cannot fail
	return &credentialAnswer{status: http.StatusOK, body: body}
}

// conclude ends a request, when its time has come, unless it was replaced or revoked meanwhile.
func (h *Hub) conclude(
	ctx context.Context, id string, o *issuing, issue func(ChainFault) ([]string, error),
) {
	if pause(ctx, issueTime) != nil {
		return
	}
	f, struck := h.strike(IssueEnd, id)
	if struck && pause(ctx, f.Delay) != nil {
		return
	}
	chain, err := issue(f.Chain)
	a := issued(o, chain)
	if err != nil {
		a = h.credentialRefusal(
			http.StatusBadRequest, issueCode(err), issueProblem(err),
			o.failure(issueProblem(err)), 0,
		)
	}
	if struck {
		info := o.info()
		if cmp.Or(f.Status, f.Code/1000) == http.StatusBadRequest {
			info = o.failure(f.Message)
		}
		a = cmp.Or(h.faultyAnswer(f, info), a)
	}
	now := h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.devices[id]
	if r == nil || r.issue != o {
		return
	}
	if now.After(o.expires) || struck && f.NoAnswer {
		r.issue = nil
		return
	}
	o.answer = a
	l := h.links[id]
	if struck && l != nil {
		switch {
		case f.Cut:
			l.session.Close(mqttserver.ErrReset)
			return
		case f.Close:
			l.session.Close(errFault)
			return
		case f.Stall:
			stall(l.session.Conn())
			return // it is offered to the next connection
		}
	}
	h.offerCertificate(l)
}

// offerCertificate sends the end of a request to the device, if it listens: over a later connection
// or after a later SUBSCRIBE, too, until it has acknowledged it. h.mu is held.
func (h *Hub) offerCertificate(l *link) {
	if l == nil || h.links[l.id] != l || !l.subscribed(credentialFilter) {
		return
	}
	r := h.devices[l.id]
	if r == nil || r.issue == nil || r.issue.answer == nil || r.issue.sentOn == l {
		return
	}
	o := r.issue
	o.sentOn = l
	m := l.credentialMessage(o.rid, o.answer)
	heard := func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if r.issue == o {
			r.issue = nil
		}
	}
	if m.QoS == 0 {
		r.issue = nil // no acknowledgement will tell
		heard = nil
	}
	h.addOperation(Operation{
		On: IssueEnd, DeviceID: l.id, Transport: l.transport,
		Status: o.answer.status, Code: o.answer.code,
	})
	l.post(outgoing{message: m, acked: heard})
}

// issueCode is the code of an issuer's error.
func issueCode(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return codeCredentialFailed
}

// issueProblem is the text of an issuer's error.
func issueProblem(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Message
	}
	return err.Error()
}

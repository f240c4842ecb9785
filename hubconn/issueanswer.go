// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/internal/mqtt"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/retry"
)

// maxIssueAnswer is the longest answer that is read: a chain of six certificates with RSA keys, in
// base64 twice, takes a quarter of it.
const maxIssueAnswer = 128 << 10

// issueAnswer is what the hub has said to a request for a certificate.
type issueAnswer struct {
	id     string
	status int
	body   []byte // nil when it is too long
	length int
	ack    func() // the hub keeps the answer until then
}

// parseIssueAnswer reads an answer by its topic: $iothub/credentials/res/{status}/?$rid={id}.
func parseIssueAnswer(m mqtt.Message) (*issueAnswer, bool) {
	status, query, _ := strings.Cut(strings.TrimPrefix(m.Topic, issueResponses), "/")
	a := &issueAnswer{body: m.Payload, length: len(m.Payload), ack: m.Ack}
	if a.length > maxIssueAnswer {
		a.body = nil
	}
	var err error
	if a.status, err = strconv.Atoi(status); err != nil || a.status < 100 || a.status > 999 {
		return nil, false
	}
	parameters(query, func(name, value string) {
		if name == "$rid" {
			a.id = unescape(value)
		}
	})
	return a, a.id != ""
}

// issues are the requests for certificates that somebody waits for.
type issues struct {
	mu        sync.Mutex
	waiting   map[string]*issueWaiter
	unclaimed *issueAnswer // a certificate that nobody waits for: the hub works on one at a time

	turn      chan struct{} // holds one token while the subscription is made, or given up
	listeners int           // of the subscription; whoever has the turn counts
}

// issueWaiter is where the answers to one request wait. The last of each kind counts, so there is
// no more than one of each.
type issueWaiter struct {
	issues  *issues
	arrived chan struct{} // holds one token after an answer
	started *issueAnswer
	final   *issueAnswer
}

// certificates makes the place for answers when it is first needed: most connections need none.
func (c *Conn) certificates() *issues {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.issues == nil {
		c.issues = &issues{waiting: map[string]*issueWaiter{}, turn: make(chan struct{}, 1)}
	}
	return c.issues
}

// expect makes room for the answers to a request; nil if somebody waits for them already. The one
// that nobody has claimed is the request's, or nobody's.
func (is *issues) expect(id string) *issueWaiter {
	is.mu.Lock()
	defer is.mu.Unlock()
	if is.waiting[id] != nil {
		return nil
	}
	w := &issueWaiter{issues: is, arrived: make(chan struct{}, 1)}
	if a := is.unclaimed; a != nil && a.id == id {
		w.final = a
	} else if a != nil {
		a.ack()
	}
	is.unclaimed = nil
	is.waiting[id] = w
	return w
}

// forget keeps a certificate that has come when nobody took it any more.
func (is *issues) forget(id string) {
	is.mu.Lock()
	defer is.mu.Unlock()
	a := is.waiting[id].final
	delete(is.waiting, id)
	if a != nil {
		is.keep(a)
	}
}

// deliver puts an answer where somebody waits for it.
func (is *issues) deliver(a *issueAnswer) {
	is.mu.Lock()
	defer is.mu.Unlock()
	w := is.waiting[a.id]
	switch {
	case a.status == http.StatusAccepted:
		a.ack()
		if w == nil {
			return
		}
		w.started = a
	case w == nil:
		is.keep(a)
		return
	default:
		w.final = a
	}
	signal(w.arrived)
}

// keep puts a certificate by that nobody waits for; is.mu is held. It is not acknowledged, so the
// hub has it as well. Any other answer is of no use later.
func (is *issues) keep(a *issueAnswer) {
	if a.status != http.StatusOK || a.body == nil {
		a.ack()
		return
	}
	if is.unclaimed != nil && is.unclaimed.id != a.id {
		is.unclaimed.ack()
	}
	is.unclaimed = a
}

// take returns what the hub has said since: that it works on the request, and the answer that ends
// it; nil each if it has not.
func (w *issueWaiter) take() (started, final *issueAnswer) {
	w.issues.mu.Lock()
	started, final = w.started, w.final
	w.started, w.final = nil, nil
	w.issues.mu.Unlock()
	return started, final
}

// accept notes that the hub works on the request.
func (i *issuance) accept(a *issueAnswer) {
	var in struct{ OperationExpires string }
	_ = json.Unmarshal(a.body, &in) // what cannot be read is not there
	expires := parseExpires(in.OperationExpires)
	working := usualOperation
	if left := expires.Sub(i.conn.dialer.clock()); left > 0 { // else the clock is wrong here
		working = max(left, issueTimeout)
	}
	i.until = time.Now().Add(min(working, time.Until(i.last)))
	if i.request.Accepted != nil {
		i.request.Accepted(expires)
	}
}

// parseExpires reads a time of the hub's, of which the fraction has nine digits.
func parseExpires(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// noAnswer is ErrNoAnswer with the time that it took.
type noAnswer struct{ text string }

func (e *noAnswer) Error() string { return e.text }

func (e *noAnswer) Unwrap() error { return ErrNoAnswer }

// readIssueAnswer returns the chain that an answer holds, or what the hub has refused.
func (c *Conn) readIssueAnswer(a *issueAnswer) ([]string, error) {
	a.ack() // also of what cannot be read: it would come again for ever
	if a.status != http.StatusOK {
		return nil, c.issueRefusal(a)
	}
	chain, err := parseChain(a)
	if err != nil {
		return nil, &Error{
			Op: "certificate", Hub: c.hub, Class: Server, Status: a.status, Code: a.status * 1000,
			Err: err,
		}
	}
	return chain, nil
}

// parseChain reads {"correlationId": …, "certificates": [base64, …]}. An error shows nothing of it.
func parseChain(a *issueAnswer) ([]string, error) {
	if a.body == nil {
		return nil, fmt.Errorf(
			"the answer of %d bytes is larger than the %d that a chain can take", a.length,
			maxIssueAnswer,
		)
	}
	var in struct{ Certificates []string }
	if json.Unmarshal(a.body, &in) != nil {
		return nil, errors.New("the answer is not a JSON object with a list of certificates")
	}
	if len(in.Certificates) == 0 {
		return nil, errors.New("the answer has no certificates")
	}
	for n, text := range in.Certificates {
		if text == "" {
			return nil, fmt.Errorf("certificate %d of the answer is empty", n+1)
		}
	}
	return in.Certificates, nil
}

// issueRefusal makes an error of an answer that is no certificate.
func (c *Conn) issueRefusal(a *issueAnswer) *Error {
	r := parseRefusal(a.status, "", a.body)
	e := &Error{
		Op: "certificate", Hub: c.hub, Status: a.status, Code: r.code, Name: r.name,
		Message: r.message, TrackingID: r.trackingID,
	}
	e.Class = Server // no such answer is known
	if a.status/100 == 4 || a.status/100 == 5 {
		e.Class = e.operationClass(true)
	}
	var more struct {
		Info *struct {
			RequestID         string
			OperationExpires  string
			CredentialMessage string
		}
		RetryAfter json.RawMessage
	}
	_ = json.Unmarshal(a.body, &more) // what cannot be read is not there
	if more.Info != nil {
		if text := oneline.ASCII(more.Info.CredentialMessage, 256); text != "" {
			e.Message = strings.TrimPrefix(e.Message+": "+text, ": ")
		}
	}
	if a.status == http.StatusConflict {
		e.Pending = &PendingRequest{}
		if more.Info != nil {
			e.Pending.Expires = parseExpires(more.Info.OperationExpires)
			if validRequestID(more.Info.RequestID) {
				e.Pending.ID = more.Info.RequestID
			}
		}
	}
	wait := strings.Trim(string(more.RetryAfter), `"`)
	if strings.Trim(wait, "0123456789") == "" { // no date stands here
		e.Wait, _ = retry.ParseRetryAfter(wait, time.Time{})
	}
	if e.Wait == 0 {
		e.Wait = issueDelay(a.status)
	}
	return e
}

// issueDelay is what Microsoft's SDKs advise where the hub names no delay.
func issueDelay(status int) time.Duration {
	switch status {
	case http.StatusTooManyRequests:
		return time.Second
	case http.StatusInternalServerError:
		return 5 * time.Minute
	case http.StatusServiceUnavailable:
		return 5 * time.Second
	}
	return 0
}

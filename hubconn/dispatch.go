// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

// receive is given every message from the hub, in order, by the goroutine of the link that reads.
// It never waits and calls no code of the program: it only puts each where somebody waits for it.
// Those places are bounded, and each says what it does when it is full.
//
// Messages of a topic without a subscription are not acknowledged, so that the hub keeps them: they
// may come from a session that an earlier program left at the hub.
func (c *Conn) receive(m mqtt.Message) {
	switch {
	case !strings.HasPrefix(m.Topic, "$iothub/"):
		if c.forInbox(m.Topic) {
			c.inbox.push(m)
		}
		return
	case strings.HasPrefix(m.Topic, twinResponses):
		if a, ok := parseTwinResponse(m.Topic, m.Payload); ok {
			a.patches = c.feeds.count()
			c.twinRequests.deliver(a)
		}
	case strings.HasPrefix(m.Topic, issueResponses):
		if a, ok := parseIssueAnswer(m); ok {
			c.certificates().deliver(a) // which has its own rule of what is acknowledged
			return
		}
	case strings.HasPrefix(m.Topic, desiredPatches):
		c.feeds.push(parsePatch(m.Topic, m.Payload))
	case strings.HasPrefix(m.Topic, methodCalls):
		if call, ok := parseCall(m.Topic, m.Payload, time.Now()); ok {
			c.calls.push(call)
		}
	}
	if m.QoS > 0 { // more than was subscribed to
		m.Ack()
	}
}

// forInbox reports whether a topic is one that Messages yields.
func (c *Conn) forInbox(topic string) bool {
	rest, ok := strings.CutPrefix(topic, c.hub.path())
	if !ok {
		return false
	}
	return strings.HasPrefix(rest, "/messages/devicebound/") ||
		c.hub.ModuleID != "" && strings.HasPrefix(rest, "/inputs/")
}

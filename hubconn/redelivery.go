// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

// identity tells messages apart: it is made of the topic, which has every property, and the body.
type identity [sha256.Size]byte

func identify(m mqtt.Message) (id identity) {
	h := sha256.New()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(m.Topic)))) // never fails
	_, _ = h.Write([]byte(m.Topic))
	_, _ = h.Write(m.Payload)
	h.Sum(id[:0])
	return id
}

// handed is a message that a loop body has.
type handed struct {
	id  identity
	ack func() // nil: the link it came over has ended, and it has not come again
}

// known is what there is to know of the messages of one identity that came over a former link and
// were not acknowledged over it.
type known struct {
	done    int // a loop body has finished with so many
	waiting int // so many were in the inbox
}

// former recognises the messages that the hub sends again because the link ended in, or before the
// end of, the loop body that had them: they are acknowledged, and not yielded again.
//
// The packet says little. A message that is sent again has its DUP flag (MQTT 3.1.1 §3.3.1.1),
// which a message that equals it by chance has not; a MessageID, where the back end gives one, is
// there to tell the two apart. So without either of them a message is always yielded: it may come
// twice, as delivery is at least once, but none gets lost. Among equal messages that are all sent
// again those are let through first that no body has had, as many as there were: should the one
// that is done with not come again, because it expired meanwhile, none is taken for it.
type former struct {
	byID map[identity]*known
	// unsure is true when messages that came over this link are with the hub and not counted here.
	unsure   bool
	attached bool // a link has been in use since leave
	offered  bool // and a loop took messages
}

// leave notes what is not acknowledged when a link ends.
func (f *former) leave(body *handed, queue []mqtt.Message) {
	if f.attached && f.offered || f.unsure {
		for id, k := range f.byID {
			// it had its chance to come again, or it cannot be told any more
			if k.done = 0; body == nil || body.id != id || f.unsure {
				delete(f.byID, id)
			}
		}
	}
	if body != nil {
		body.ack = nil
		if !f.unsure && f.byID[body.id] == nil {
			if f.byID == nil {
				f.byID = map[identity]*known{}
			}
			f.byID[body.id] = &known{}
		}
	}
	if len(f.byID) > 0 {
		for _, m := range queue {
			if k := f.byID[identify(m)]; k != nil {
				k.waiting++
			}
		}
	}
	f.unsure, f.attached = false, false
}

// finished notes that a body has finished with a message that cannot be acknowledged at present.
func (f *former) finished(id identity) {
	if k := f.byID[id]; k != nil {
		k.done++
	}
}

// recognise acknowledges a message that a body has finished with before, and lets the body that has
// it at present acknowledge it. It reports false for any other.
func (f *former) recognise(m mqtt.Message, body *handed) bool {
	if len(f.byID) == 0 || !m.Duplicate && !hasMessageID(m.Topic) {
		return false
	}
	id := identify(m)
	k := f.byID[id]
	switch {
	case k == nil:
	case k.waiting > 0:
		k.waiting--
	case k.done > 0:
		k.done--
		m.Ack()
		return true
	case body != nil && body.id == id && body.ack == nil:
		body.ack = m.Ack
		return true
	}
	return false
}

// hasMessageID looks for the property in a topic, where the value of another cannot be taken for
// it: its equals sign would be escaped.
func hasMessageID(topic string) bool {
	return strings.Contains(topic, "%24.mid=") || strings.Contains(topic, "$.mid=")
}

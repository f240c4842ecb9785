// SPDX-License-Identifier: Apache-2.0

package natslease

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rehome-iot/rehome/cache/natskv/internal/bucket"
)

// The two kinds of keys.
const (
	memberPrefix   = "m."
	identityPrefix = "i."
)

func memberKey(name string) string       { return memberPrefix + bucket.EncodeKey(name) }
func identityKey(identity string) string { return identityPrefix + bucket.EncodeKey(identity) }

// A member is a replica as its key tells.
type member struct {
	Replica  string `json:"replica"`
	Session  string `json:"session"`
	Duration int64  `json:"leaseMillis"`

	revision uint64
	seen     time.Time // when this revision was seen, or later by an amnesty
}

// deadAfter is for how long nothing is seen of a dead one. A tenth more than its leases last is for
// clocks that run at different rates.
func (m *member) deadAfter() time.Duration {
	return time.Duration(m.Duration) * time.Millisecond * 11 / 10
}

// grace is how long one that lives may take to be seen again after NATS was away: the write that it
// is at may have to fail first, and the next one is not at once. That none of its leases is taken
// too early is not for this to see to.
func (m *member) grace() time.Duration {
	return min(2*renewTimeout(time.Duration(m.Duration)*time.Millisecond), m.deadAfter())
}

// A holding is who has the lease of an identity, as its key tells; Session is empty if it is free.
type holding struct {
	Identity string `json:"identity"`
	Replica  string `json:"replica,omitempty"`
	Session  string `json:"session,omitempty"`

	revision uint64
}

const longestRecord = 64 << 10

var errRecord = errors.New("not written by a replica")

// encode makes JSON of a record, whose strings need not be UTF-8.
func (m member) encode() []byte {
	data, _ := json.Marshal(member{
		Replica: string(escape(m.Replica)), Session: m.Session, Duration: m.Duration,
	})
	return data
}

func (h holding) encode() []byte {
	data, _ := json.Marshal(holding{
		Identity: string(escape(h.Identity)), Replica: string(escape(h.Replica)),
		Session: h.Session,
	})
	return data
}

// parseMember reads what stands under a key of a replica.
func parseMember(key string, e bucket.Entry) (*member, error) {
	var m member
	if err := unmarshal(e.Value, &m); err != nil {
		return nil, err
	}
	m.Replica = unescape(m.Replica)
	d := time.Duration(m.Duration) * time.Millisecond
	if memberKey(m.Replica) != key || m.Session == "" || d < shortest || d > longest {
		return nil, errRecord
	}
	m.revision = e.Revision
	return &m, nil
}

// parseHolding reads what stands under a key of an identity.
func parseHolding(key string, e bucket.Entry) (holding, error) {
	var h holding
	if err := unmarshal(e.Value, &h); err != nil {
		return holding{revision: e.Revision}, err
	}
	h.Identity, h.Replica = unescape(h.Identity), unescape(h.Replica)
	if identityKey(h.Identity) != key || (h.Session == "") != (h.Replica == "") {
		return holding{revision: e.Revision}, errRecord
	}
	h.revision = e.Revision
	return h, nil
}

func unmarshal(data []byte, into any) error {
	if len(data) > longestRecord {
		return fmt.Errorf("a value of %d bytes: %w", len(data), errRecord)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	return nil
}

// escape makes one character of each byte, for JSON has text alone: identities are any strings, and
// must come back as they were. ASCII, which they mostly are, stays as it is.
func escape(s string) []rune {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return runes
}

func unescape(s string) string {
	data := make([]byte, 0, len(s))
	for _, r := range s {
		data = append(data, byte(r))
	}
	return string(data)
}

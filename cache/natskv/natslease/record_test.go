// SPDX-License-Identifier: Apache-2.0

package natslease

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/cache/natskv/internal/bucket"
)

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	for _, s := range []string{"", "sensor-042", "é", "\xff\x00", strings.Repeat("k", 3000)} {
		h := holding{Identity: s, Replica: "r" + s, Session: "session"}
		got, err := parseHolding(identityKey(s), bucket.Entry{Value: h.encode(), Revision: 7})
		h.revision = 7
		assert.NoError(t, err)
		assert.Equal(t, h, got)
		m := member{Replica: s, Session: "session", Duration: 2000}
		read, err := parseMember(memberKey(s), bucket.Entry{Value: m.encode(), Revision: 7})
		m.revision = 7
		assert.NoError(t, err)
		assert.Equal(t, &m, read)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add("m.a", []byte(`{"replica":"a","session":"1","leaseMillis":15000}`))
	f.Add("i.a", []byte(`{"identity":"a","replica":"a","session":"1"}`))
	f.Add("i.a", []byte(`{"identity":"a"}`))
	f.Add("i.=", []byte(`{}`))
	f.Add("m.a", []byte(`{"replica":"a","session":"1","leaseMillis":9223372036854775807}`))
	f.Fuzz(func(t *testing.T, key string, data []byte) {
		e := bucket.Entry{Value: data, Revision: 1}
		if m, err := parseMember(key, e); err == nil {
			if d := m.deadAfter(); d < shortest || d > 2*longest || memberKey(m.Replica) != key {
				t.Errorf("%+v under %q", m, key)
			}
		}
		if h, err := parseHolding(key, e); err == nil && identityKey(h.Identity) != key {
			t.Errorf("%+v under %q", h, key)
		}
		v := newView()
		for i := range 2 {
			v.apply(key, e, time.Now())
			e.Revision++
			e.Deleted = i == 0
		}
	})
}

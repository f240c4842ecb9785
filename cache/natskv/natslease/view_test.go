// SPDX-License-Identifier: Apache-2.0

package natslease

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/cache/natskv/internal/bucket"
)

func present(name, session string, revision uint64) (string, bucket.Entry) {
	m := member{Replica: name, Session: session, Duration: 2000}
	return memberKey(name), bucket.Entry{Value: m.encode(), Revision: revision}
}

func TestAMembersTimeBeginsWithItsLastWriteAndNotWhenItIsReadAgain(t *testing.T) {
	v, now := newView(), time.Now()
	key, e := present("a", "1", 5)
	assert.True(t, v.apply(key, e, now).members)
	assert.False(t, v.apply(key, e, now.Add(time.Second)).members)
	assert.Equal(t, now, v.members[key].seen, "a watch that begins anew tells nothing new")
	e.Revision = 6
	v.apply(key, e, now.Add(time.Second))
	assert.Equal(t, now.Add(time.Second), v.members[key].seen)
	e.Revision = 4
	v.apply(key, e, now.Add(time.Minute))
	assert.EqualValues(t, 6, v.members[key].revision, "what is older is not news")
}

func TestASessionThatWasReplacedOrDeletedIsDeadForGood(t *testing.T) {
	v, now := newView(), time.Now()
	v.apply(memberKey("a"), bucket.Entry{}, now)
	for i, session := range []string{"1", "2"} {
		key, e := present("a", session, uint64(10*i+1))
		v.apply(key, e, now)
		alive, known := v.lives("a", session)
		assert.True(t, alive && known)
	}
	alive, known := v.lives("a", "1")
	assert.True(t, !alive && known)
	f := v.apply(memberKey("a"), bucket.Entry{Revision: 20, Deleted: true}, now)
	assert.True(t, f.members)
	alive, known = v.lives("a", "2")
	assert.True(t, !alive && known)
	_, known = v.lives("b", "3")
	assert.False(t, known, "it may have only just come")
	assert.Equal(t, []string{"own"}, v.names("own"))
}

func TestAReleaseIsToldOnce(t *testing.T) {
	v, now := newView(), time.Now()
	held := holding{Identity: "sensor", Replica: "a", Session: "1"}
	free := holding{Identity: "sensor"}
	key := identityKey("sensor")
	assert.False(t, v.apply(key, bucket.Entry{Value: held.encode(), Revision: 1}, now).isFreed)
	f := v.apply(key, bucket.Entry{Value: free.encode(), Revision: 2}, now)
	assert.True(t, f.isFreed)
	assert.Equal(t, "sensor", f.freed)
	assert.False(t, v.apply(key, bucket.Entry{Value: free.encode(), Revision: 2}, now).isFreed)
	v.apply(key, bucket.Entry{Value: held.encode(), Revision: 3}, now)
	f = v.apply(key, bucket.Entry{Revision: 4, Deleted: true}, now)
	assert.Equal(t, "sensor", f.freed, "an operator's deletion too")
}

func TestAfterAnAmnestyOneThatIsDeadIsFoundSoAfterTwoThirdsOfItsDuration(t *testing.T) {
	for duration, want := range map[time.Duration]time.Duration{
		15 * time.Second: 10 * time.Second, 5 * time.Second: 4 * time.Second,
		time.Second: 1100 * time.Millisecond, // all of its time
	} {
		v, now := newView(), time.Now()
		m := member{Replica: "a", Session: "1", Duration: duration.Milliseconds()}
		key := memberKey("a")
		v.apply(key, bucket.Entry{Value: m.encode(), Revision: 5}, now)
		v.amnesty(now.Add(time.Second / 100))
		left := func(since time.Duration) time.Duration {
			seen := v.members[key].seen
			return seen.Add(v.members[key].deadAfter()).Sub(now.Add(since))
		}
		if duration > time.Second {
			assert.Equal(t, v.members[key].deadAfter(), left(0), "it has more than that left")
		}
		v.amnesty(now.Add(time.Hour))
		assert.Equal(t, want, left(time.Hour), "%v", duration)
	}
}

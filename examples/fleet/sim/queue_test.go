// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What an engine without its last line of defence would lose: an event in the past is refused.
func TestNoEventIsFiledInThePast(t *testing.T) {
	q := newCalendar(time.Second)
	q.push(event{at: 90 * time.Second})
	last, n := q.next(never)
	require.Equal(t, 91*time.Second-1, last)
	require.Equal(t, 1, n)
	q.pop(nil)
	require.Panics(t, func() { q.push(event{at: 90 * time.Second}) })
}

func TestBothQueuesGiveTheSameOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	heap, ring := &instants{}, newCalendar(50*time.Millisecond)
	for i := range 5000 {
		far := time.Duration(random.Int64N(int64(time.Hour)))
		if i%50 == 0 {
			far *= 40 // beyond a turn of the ring, and beyond the next
		}
		for _, q := range []queue{heap, ring} {
			q.push(event{at: far, device: uint32(i)})
		}
	}
	drain := func(q queue) (all []event) {
		for last, _ := q.next(never); last != never; last, _ = q.next(never) {
			batch := q.pop(nil)
			slices.SortFunc(batch, func(a, b event) int { return int(a.at - b.at) })
			all = append(all, batch...)
		}
		return all
	}
	a, b := drain(heap), drain(ring)
	require.Len(t, b, 5000)
	for i := range a {
		require.Equal(t, a[i].at, b[i].at)
	}
}

// An answer may come in a turn of the ring in which nothing else happens, and when the page of a
// later one was all that was left.
func TestAnAnswerIsFiledInATurnThatIsSkipped(t *testing.T) {
	const later = 5 * ringSize * time.Second
	q := newCalendar(time.Second)
	q.push(event{at: (ringSize - 1) * time.Second})
	q.push(event{at: later})
	require.Len(t, q.pop(nil), 1)
	for _, answer := range []time.Duration{
		ringSize * time.Second, 2*ringSize*time.Second + 7*time.Second,
	} {
		last, n := q.next(answer)
		require.Equal(t, answer+time.Second-1, last)
		require.Zero(t, n, "it is not there yet")
		q.push(event{at: answer})
		last, n = q.next(never)
		require.Equal(t, answer+time.Second-1, last)
		require.Equal(t, 1, n)
		require.Equal(t, []event{{at: answer}}, q.pop(nil))
	}
	last, n := q.next(later + time.Hour)
	require.Equal(t, later+time.Second-1, last, "what is there comes before what is not")
	require.Equal(t, 1, n)
	require.Len(t, q.pop(nil), 1)
	last, _ = q.next(never)
	require.Equal(t, never, last)
}

func TestNextOfInstantsIsBoundedByWhatIsNotThereYet(t *testing.T) {
	q := &instants{}
	last, _ := q.next(never)
	require.Equal(t, never, last)
	q.push(event{at: time.Minute})
	for limit, want := range map[time.Duration]time.Duration{
		time.Second: time.Second, time.Hour: time.Minute, never: time.Minute,
	} {
		last, _ = q.next(limit)
		require.Equal(t, want, last)
	}
}

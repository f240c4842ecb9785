// SPDX-License-Identifier: Apache-2.0

package service

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// admitted counts what a quota admits of requests that come at a rate, over a time.
func admitted(q Quota, perSecond int, over time.Duration) (n int) {
	for at := time.Duration(0); at < over; at += time.Second / time.Duration(perSecond) {
		if _, ok := q.Admit(at); ok {
			n++
		}
	}
	return n
}

func TestQuotasAdmitTheirRateAndNoMore(t *testing.T) {
	const hour = 3600
	for name, q := range map[string]Quota{
		"fixed":   &FixedWindow{Limit: 60, Span: time.Minute},
		"bucket":  &TokenBucket{Rate: 1, Burst: 60},
		"sliding": &SlidingWindow{Limit: 60, Span: time.Minute},
	} {
		n := admitted(q, 10, time.Hour)
		require.GreaterOrEqual(t, n, hour, name)
		require.LessOrEqual(t, n, hour+60, name)
	}
	costly := admitted(&FixedWindow{Limit: 60, Span: time.Minute, Cost: 0.05}, 10, time.Hour)
	require.InDelta(t, hour/2, costly, hour/5, "540 rejections a minute cost 27")
	starved := admitted(&TokenBucket{Rate: 1, Burst: 60, Cost: 0.05}, 100, time.Hour)
	require.Less(t, starved, 100, "100 rejections a second cost more than there is")
	require.Equal(t, 100, admitted(Unlimited{}, 10, 10*time.Second))
}

// What each quota says to these requests was worked out by hand.
func TestQuotasAnswerAsWorkedOutByHand(t *testing.T) {
	type answer struct {
		at, wait time.Duration
		ok       bool
	}
	const s, ms = time.Second, time.Millisecond
	for name, c := range map[string]struct {
		Quota
		answers []answer
	}{
		"fixed": {&FixedWindow{Limit: 2, Span: time.Minute}, []answer{
			{10 * s, 0, true}, {59 * s, 0, true}, {59 * s, 1 * s, false}, {60*s - 1, 1, false},
			{60 * s, 0, true}, {60 * s, 0, true}, {60 * s, 60 * s, false}, {185 * s, 0, true},
		}},
		"fixed, rejections cost half": {
			&FixedWindow{Limit: 3, Span: time.Minute, Cost: 0.5}, []answer{
				{10 * s, 0, true}, {20 * s, 0, true}, {20 * s, 0, true},
				{30 * s, 30 * s, false}, {60*s - ms, ms, false}, // 4 of 3 are spent
				{60 * s, 0, true}, {61 * s, 0, true}, {62 * s, 58 * s, false}, // 3.5 of 3
				{180 * s, 0, true}, {180 * s, 0, true}, {180 * s, 0, true},
				{181 * s, 59 * s, false},
				{240 * s, 0, true}, {240 * s, 0, true}, {240 * s, 60 * s, false}, // 2.5 of 3
			},
		},
		"fixed, rejections cost as much": {
			&FixedWindow{Limit: 1, Span: time.Minute, Cost: 1}, []answer{
				{0, 0, true}, {0, 60 * s, false}, // 2 of 1
				{60 * s, 60 * s, false}, {61 * s, 59 * s, false}, // 3 of 1
				{180 * s, 60 * s, false}, // 2 of 1
				{300 * s, 0, true},
			},
		},
		"bucket": {&TokenBucket{Rate: 0.5, Burst: 2}, []answer{
			{10 * s, 0, true}, {10 * s, 0, true}, {10 * s, 2 * s, false}, {11 * s, 1 * s, false},
			{12 * s, 0, true}, {13 * s, 1 * s, false}, {60 * s, 0, true}, {60 * s, 0, true},
			{60 * s, 2 * s, false},
		}},
		"bucket, rejections cost a quarter": {
			&TokenBucket{Rate: 0.5, Burst: 2, Cost: 0.25}, []answer{
				{10 * s, 0, true}, {10 * s, 0, true}, {10 * s, 2500 * ms, false}, // -0.25 are left
				{12 * s, 1 * s, false}, // 0.75, and then 0.5
				{13 * s, 0, true}, {20 * s, 0, true}, {20 * s, 0, true}, {20 * s, 2500 * ms, false},
			},
		},
	} {
		for i, want := range c.answers {
			wait, ok := c.Admit(want.at)
			require.Equal(t, want, answer{want.at, wait, ok}, "%s, request %d", name, i)
		}
	}
}

// Whoever waits as long as a quota says is admitted, if nobody else comes.
func TestAQuotaSaysHowLongItTakes(t *testing.T) {
	for name, q := range map[string]Quota{
		"fixed":   &FixedWindow{Limit: 5, Span: time.Minute},
		"bucket":  &TokenBucket{Rate: 0.1, Burst: 5},
		"sliding": &SlidingWindow{Limit: 5, Span: time.Minute},
	} {
		at := 7 * time.Second
		for range 5 {
			_, ok := q.Admit(at)
			require.True(t, ok, name)
		}
		wait, ok := q.Admit(at)
		require.False(t, ok, name)
		require.Positive(t, wait, name)
		_, ok = q.Admit(at + wait)
		require.True(t, ok, name)
	}
}

func TestDPSAnswersByItsStateAndQuota(t *testing.T) {
	d := DPS{
		Quota: &FixedWindow{Limit: 1, Span: time.Minute}, PollAfter: 3 * time.Second,
		Down:    Interval{From: time.Hour, To: 2 * time.Hour},
		Failing: Interval{From: 2 * time.Hour, To: 3 * time.Hour},
		Assigns: func(uint32, time.Duration) Hub { return 1 },
	}
	ask := func(k Kind, at time.Duration) Answer { return d.Answer(Request{Kind: k, At: at}) }
	require.Equal(t, Answer{Outcome: Assigning, RetryAfter: 3 * time.Second}, ask(Register, 0))
	require.Equal(t, Answer{Outcome: Throttled, RetryAfter: 31 * time.Second},
		ask(Lookup, 29*time.Second+time.Millisecond), "whole seconds, rounded up")
	require.Equal(t, Answer{Outcome: Assigned, Hub: 1}, ask(Poll, 3*time.Second))
	require.Equal(t, TimeTold, ask(Time, 4*time.Second).Outcome, "nothing of the quota")
	require.Equal(t, NoAnswer, ask(Time, time.Hour).Outcome)
	require.Equal(t, Unavailable, ask(Register, 2*time.Hour).Outcome)
	wrong := d.Answer(Request{Kind: Register, At: 4 * time.Hour, WrongClock: true})
	require.Equal(t, Rejected, wrong.Outcome)
	require.Equal(t, Throttled, ask(Register, 4*time.Hour).Outcome, "that has cost one")
}

func TestEachOutcomeIsInVainOrNot(t *testing.T) {
	inVain := map[string]bool{
		"accepted": false, "assigning": false, "assigned": false, "time told": false,
		"throttled": true, "unavailable": true, "no answer": true, "rejected": true,
		"not found": true, "operation unknown": true, "name gone": true, "untrusted": true,
	}
	require.Len(t, inVain, int(Outcomes))
	for o := range Outcomes {
		vain, ok := inVain[o.String()]
		require.True(t, ok, o)
		require.Equal(t, !vain, o.Good(), o)
	}
}

func TestAHubShapesBeforeItRefuses(t *testing.T) {
	h := HubModel{Rate: Rate{PerSecond: 10, Backlog: 54 * time.Second}}
	refused, longest := 0, time.Duration(0)
	for range 1000 {
		a := h.Answer(Request{})
		if longest = max(longest, a.Takes); a.Outcome == Unavailable {
			refused++
			require.Equal(t, 54*time.Second, a.Takes)
		}
	}
	require.InDelta(t, 1000-540, refused, 12)
	strict := HubModel{Rate: Rate{Quota: &TokenBucket{Rate: 10, Burst: 10}}}
	require.Equal(t, Accepted, strict.Answer(Request{}).Outcome)
	gone := HubModel{Knows: func(device uint32, _ time.Duration) bool { return device != 7 }}
	require.Equal(t, Rejected, gone.Answer(Request{Device: 7}).Outcome)
	require.Equal(t, Accepted, gone.Answer(Request{Device: 8}).Outcome)
	require.Equal(t, Rejected, gone.Answer(Request{WrongClock: true}).Outcome)
}

func TestTheLedgerKnowsWhatEachServiceAsked(t *testing.T) {
	l := NewLedger(2, 2)
	dps, hub := Request{Device: 1, Kind: Register}, Request{Device: 1, Kind: Connect, Hub: 1}
	l.Received(dps, Answer{Outcome: Throttled, RetryAfter: 48 * time.Hour}, 0)
	l.Received(hub, Answer{Outcome: Unavailable}, time.Second)
	other := dps
	other.Device = 0
	for _, r := range []Request{other, {Device: 1, Kind: Connect, Hub: 0}} {
		l.Asked(r)
	}
	require.Zero(t, l.BeforeRetryAfter()+l.SoonAfterFailure(), "of others")
	dps.At, hub.At = LongestHonoured-1, 6*time.Second-1
	l.Asked(dps)
	l.Asked(hub)
	require.Equal(t, 1, l.BeforeRetryAfter())
	require.Equal(t, 1, l.SoonAfterFailure())
	dps.At, hub.At = LongestHonoured, 6*time.Second
	l.Asked(dps)
	l.Asked(hub)
	require.Equal(t, 2, l.BeforeRetryAfter()+l.SoonAfterFailure(), "no more than a day, or 5 s")
	asked := Request{Device: 0, Kind: Time}
	l.Received(asked, Answer{Outcome: Unavailable}, time.Second)
	l.Asked(Request{At: 2 * time.Second, Device: 0, Kind: Register})
	require.Equal(t, 2, l.SoonAfterFailure(), "an answer that tells the time is one as well")
}

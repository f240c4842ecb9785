// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// replay is one step told for people.
type replay struct {
	want    int32 // number of what follows
	to      int32 // or the situation, where want is -1
	actions []Action
	after   *situation
	text    string
}

// take keeps what is wanted.
func (r *replay) take(choice int32, c *situation, elapsed time.Duration, what any) {
	if choice != r.want || r.after != nil {
		return
	}
	after := *c
	r.after, r.text = &after, fmt.Sprintf("+%v %T%+v ->", elapsed, what, what)
	for _, a := range r.actions {
		r.text += strings.ReplaceAll(fmt.Sprintf(" %T%+v", a, a), "rules.", "")
	}
}

// slowest tells what happens from a situation when it takes longest: the way round, if there is
// one.
func (x *exploration) slowest(steps []int32, i int32, limit int) string {
	var b strings.Builder
	var s situation
	seen := map[int32]bool{}
	for range limit {
		nd := &x.nodes[i]
		if nd.goal || nd.first == nd.last || seen[i] {
			break
		}
		seen[i] = true
		next := x.edges[nd.first]
		for _, e := range x.edges[nd.first:nd.last] {
			if steps[i] == unknown && steps[e.to] == unknown ||
				steps[i] != unknown && steps[e.to]+e.steps == steps[i] {
				next = e
				break
			}
		}
		if s.state.Settings.Hub == (retry.Policy{}) { // a situation that was never set
			x.story(i, -1, &s)
		}
		x.replayed = &replay{want: -1, to: next.to}
		x.expand(i, &s)
		if x.replayed.after == nil {
			b.WriteString("…\n")
			break
		}
		s = *x.replayed.after
		b.WriteString(x.replayed.text + "\n")
		x.replayed = nil
		i = next.to
	}
	x.replayed = nil
	return b.String() + tell(&s)
}

// story tells how a situation comes about, and what is wrong there.
func (x *exploration) story(i, last int32, end *situation) string {
	type link struct{ node, choice int32 }
	var path []link
	if last >= 0 {
		path = append(path, link{i, last})
	}
	for at := i; at >= 0; at = x.nodes[at].parent {
		path = append(path, link{x.nodes[at].parent, x.nodes[at].choice})
	}
	slices.Reverse(path)
	var b strings.Builder
	var s situation
	for _, l := range path {
		x.replayed = &replay{want: l.choice}
		x.at, x.choice = l.node, 0
		if l.node < 0 {
			for _, root := range x.roots() {
				x.restart(&root)
			}
		} else {
			x.expand(l.node, &s)
		}
		if x.replayed.after == nil {
			b.WriteString("…\n")
			break
		}
		s = *x.replayed.after
		fmt.Fprintf(&b, "%s", x.replayed.text)
		b.WriteString("\n")
	}
	x.replayed = nil
	if end != nil {
		*end = s
	}
	return b.String() + tell(&s)
}

// tell is a situation for people.
func tell(s *situation) string {
	left := func(at time.Time) string {
		if at.IsZero() {
			return "-"
		}
		return at.Sub(epoch).String()
	}
	st := &s.state
	text := fmt.Sprintf(
		"   phase %d connected %d stable %v wrongClock %v notBefore %v stored %v losses %d life %v"+
			"\n   H %d in %s slot %d due %v; D %d in %s %v request %d clock %d silent %v failures"+
			" %d behind %v due %v\n   outage %s asked %d urgent %v refusals %d clock told %s"+
			" tries %d",
		s.phase, s.connected, s.stable, s.wrongClock, s.notBefore, s.stored, s.losses, s.life,
		st.Hub.Phase, left(st.Hub.At), st.Hub.Next, s.hubDue,
		st.DPS.Phase, left(st.DPS.At), st.DPS.Reason, st.DPS.Request, st.DPS.Clock, st.DPS.Silent,
		st.DPS.Failures, !st.DPS.BehindHub.IsZero(), s.dpsDue,
		left(st.Outage.Since), st.Outage.Asked, st.Urgent, st.Refusals, left(st.Clock.ToldAt),
		st.Clock.Tries,
	)
	for i := range st.Hubs {
		if r := &st.Hubs[i]; r.Hub != "" {
			text += fmt.Sprintf("\n   %.1s: class %v failures %d not before %s at %s accepted %v"+
				" missing %d gap %d in %s quick %d", r.Hub, r.Class, r.Failures,
				left(r.NotBefore), left(r.At), r.Accepted, r.Missing, r.Gap, left(r.GapAt), r.Quick)
		}
	}
	return text
}

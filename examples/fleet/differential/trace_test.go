// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// The kinds of request. A connect has the hub behind it, as in "connect hub-a".
const (
	kindRegister = "register"
	kindPoll     = "poll"
	kindLookup   = "lookup"
	kindTime     = "time"
)

func kindConnect(host string) string {
	name, _, _ := strings.Cut(host, ".")
	return "connect " + name
}

// line is one request of a trace: who asked for what, and when since the scenario's beginning.
type line struct {
	at     time.Duration
	device int
	kind   string
}

func (l line) String() string { return fmt.Sprintf("%12.9f s  %s", l.at.Seconds(), l.kind) }

// trace collects requests. It is safe for concurrent use.
type trace struct {
	mu    sync.Mutex
	lines []line
}

func (t *trace) add(l line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, l)
}

// sorted is the whole trace in order of time.
func (t *trace) sorted() []line {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortFunc(t.lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.at, b.at), a.device-b.device, strings.Compare(a.kind, b.kind))
	})
	return slices.Clone(t.lines)
}

// count is how many requests there are of each kind, for people.
func count(lines []line) string {
	n := map[string]int{}
	for _, l := range lines {
		n[l.kind]++
	}
	var all []string
	for kind, times := range n {
		all = append(all, fmt.Sprintf("%d %s", times, kind))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// difference tells the first request in which two traces differ, with what the device asked before
// it in each; "" if they are the same.
func difference(real, simulated []line) string {
	for i := range max(len(real), len(simulated)) {
		var first line
		switch {
		case i >= len(real):
			first = simulated[i]
		case i >= len(simulated):
			first = real[i]
		case real[i] == simulated[i]:
			continue
		case real[i].at <= simulated[i].at:
			first = real[i]
		default:
			first = simulated[i]
		}
		return fmt.Sprintf(
			"the traces differ from request %d on, at device %d\nDevice (%d requests)\n%s"+
				"simulation (%d requests)\n%s", i+1, first.device, len(real),
			around(real, first), len(simulated), around(simulated, first),
		)
	}
	return ""
}

// around are the last requests of a device before one of it, and the next few.
func around(lines []line, of line) string {
	const before, after = 12, 3
	var own []line
	for _, l := range lines {
		if l.device == of.device {
			own = append(own, l)
		}
	}
	at, _ := slices.BinarySearchFunc(own, of.at, func(l line, at time.Duration) int {
		return cmp.Compare(l.at, at)
	})
	var b strings.Builder
	for _, l := range own[max(at-before, 0):min(at+after, len(own))] {
		fmt.Fprintf(&b, "    %v\n", l)
	}
	return b.String()
}

// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"fmt"
	"math"
	"time"
)

// exploredWorld is one world to explore: its last surroundings are for good, the others what may
// have been before.
type exploredWorld struct {
	name     string
	named    bool // one of those by which it is shown what the exploration finds
	grid     time.Duration
	phases   []surroundings
	stagger  time.Duration // of the program, or, if it is hinted, of DPS
	hinted   bool
	mqtt     bool // DPS over MQTT: lookups and clock checks take another port
	tokens   bool
	store    storeKind
	losses   byte // so many answers may be lost
	restarts []restart
	sleeper  bool // also as a process that lives for two minutes every twelve
	nudges   bool // the network may be back at any moment

	certificates time.Duration // for how long those that the service issues are good
	otherwise    bool          // a hub takes another credential of the device
	ahead        bool          // a wrong clock is fast: by it, they have expired

	// Within these a device is connected, wherever it begins, if there is a way.
	bound, sleepBound time.Duration
}

// exploration is the graph of all situations of a world.
type exploration struct {
	world    *exploredWorld
	settings Settings
	grid     time.Duration
	form     *normalForm
	buffer   []byte

	found       map[string]int32
	queue       []situation // from the first that has not been expanded
	nodes       []node
	edges       []edge
	transitions int
	cut         bool // there is more than was looked at

	at         int32 // the situation that is expanded
	choice     int32 // number of what follows from it
	violations []violation

	replayed *replay
}

// node is a situation in the graph.
type node struct {
	parent, choice int32
	first, last    int32 // its edges
	goal           bool  // connected to a hub that accepts
	must           bool  // a connection is to be reached from here
	sleeper        bool  // by a process that lives only shortly
}

// edge is what happens without anybody's interference.
type edge struct {
	to    int32
	steps int32 // of the grid
}

type violation struct {
	kind, text string
	at, choice int32
}

// explore looks at the situations of a world, nearest first, until there are so many.
func (x *exploration) explore(most int) {
	x.at = -1
	for _, root := range x.roots() {
		x.restart(&root)
	}
	for i := 0; i < len(x.nodes) && len(x.violations) == 0; i++ {
		if x.cut = len(x.nodes) > most; x.cut {
			return
		}
		s := x.queue[0]
		x.queue = x.queue[1:]
		x.nodes[i].first = int32(len(x.edges))
		x.expand(int32(i), &s)
		x.nodes[i].last = int32(len(x.edges))
	}
}

func newExploration(w *exploredWorld) *exploration {
	x := &exploration{
		world: w, grid: w.grid, settings: Defaults(), found: map[string]int32{},
	}
	x.settings.LookupElsewhere = w.mqtt
	if !w.hinted {
		x.settings.Stagger = w.stagger
	}
	x.settings.Tokens = w.tokens
	ages := false
	for i := range w.phases {
		for _, h := range w.phases[i].hubs {
			ages = ages || h == throttling
		}
	}
	x.form = newNormalForm(w.grid, ages)
	return x
}

// violated notes that what is going on must not be.
func (x *exploration) violated(kind, format string, args ...any) {
	x.violations = append(x.violations, violation{
		kind, fmt.Sprintf(format, args...), x.at, x.choice,
	})
}

func (x *exploration) expand(i int32, s *situation) {
	x.at, x.choice = i, 0
	x.continues(s)
	x.disturbed(s)
}

// lead notes that something leads to a situation.
func (x *exploration) lead(c *situation, elapsed time.Duration, byItself bool, what any) {
	if x.replayed != nil {
		if to, ok := x.found[string(x.key(c))]; ok && x.replayed.want < 0 && to == x.replayed.to {
			x.replayed.want = x.choice
		}
		x.replayed.take(x.choice, c, elapsed, what)
		x.choice++
		return
	}
	key := x.key(c)
	to, ok := x.found[string(key)]
	if !ok {
		to = int32(len(x.nodes))
		x.found[string(key)] = to
		x.nodes = append(x.nodes, node{
			parent: x.at, choice: x.choice, goal: x.isGoal(c), must: x.mustConnect(c),
			sleeper: c.life != never,
		})
		x.queue = append(x.queue, *c)
	}
	x.choice++
	x.transitions++
	if byItself && x.at >= 0 {
		x.edges = append(x.edges, edge{to, int32(elapsed / x.grid)})
	}
}

// times are how long it takes to a connection, at the longest, from each situation, in steps of the
// grid; unknown where there is a way round for ever.
func (x *exploration) times() []int32 {
	n := len(x.nodes)
	steps := make([]int32, n)
	open := make([]int32, n) // edges to situations whose time is not known
	into := make([][]int32, n)
	var ready []int32
	for i := range x.nodes {
		nd := &x.nodes[i]
		steps[i] = unknown
		if nd.goal || nd.last == 0 && x.cut {
			steps[i] = 0
			ready = append(ready, int32(i))
			continue
		}
		open[i] = nd.last - nd.first
		for _, e := range x.edges[nd.first:nd.last] {
			into[e.to] = append(into[e.to], int32(i))
		}
		if open[i] == 0 {
			ready = append(ready, int32(i)) // nothing follows: told by the checks
		}
	}
	for len(ready) > 0 {
		i := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		if nd := &x.nodes[i]; !nd.goal {
			steps[i] = 0
			for _, e := range x.edges[nd.first:nd.last] {
				steps[i] = max(steps[i], e.steps+steps[e.to])
			}
		}
		for _, j := range into[i] {
			if open[j]--; open[j] == 0 {
				ready = append(ready, j)
			}
		}
	}
	return steps
}

const unknown = math.MinInt32

// worst is the longest time to a connection from any situation from which one must be reached, for
// a process that sleeps or one that does not. It is never where there is a way round for ever, and
// from is where that begins.
func (x *exploration) worst(steps []int32, sleeper bool) (longest time.Duration, from int32) {
	from = -1
	best := int32(-1)
	for i := range x.nodes {
		if !x.nodes[i].must || x.nodes[i].sleeper != sleeper {
			continue
		}
		if steps[i] == unknown {
			return never, int32(i)
		}
		if steps[i] > best {
			best, from = steps[i], int32(i)
		}
	}
	return time.Duration(max(best, 0)) * x.grid, from
}

// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// The decision is explored, not sampled: every situation that a device and the world around it can
// come into by any draws, at any moment of a restart, and in any order of what happens at once, as
// far as the world's surroundings allow it. What is looked at is the code itself, not a model of
// it.
//
// Exact is what the device decides, and what is merged: two situations are one if nothing in them
// that the decision looks at differs. Approximated is this:
//
//   - Times are rounded up to a grid after each decision, as those of a device that draws, or is
//     asked for, a little more. That nothing is too early is checked before.
//   - A draw is at one end of its interval or the other. At a restart, all are at the same.
//   - A service answers at once or, if it is silent, after 30 s. Requests under way at the same
//     time are answered in either order.
//   - The larger worlds are cut off after a number of situations, those nearest to the start first.
//     What is found in them is true, what is not found is not proven, and how long a connection
//     takes is a lower bound.
//   - A certificate is issued at once, with times that are always the same shares of its life.
//   - What a program asks for (Reprovision, Renew, Forget) is left to the tests of single rows.

// everything says that the worlds of all faults are explored, not the named ones alone.
func everything() bool { return os.Getenv("REHOME_TESTS") == "explore" }

// oneWorld names the only one to be explored, for the tests of the exploration itself.
const oneWorld = "REHOME_EXPLORE_WORLD"

func worldsToExplore() []*exploredWorld {
	worlds := namedWorlds()
	if name := os.Getenv(oneWorld); name != "" {
		for _, w := range append(append(worlds, everyWorld(2)...), everyCertificateWorld(2)...) {
			if w.name == name {
				return []*exploredWorld{w}
			}
		}
		return nil
	}
	if everything() {
		worlds = append(append(worlds, everyWorld(2)...), everyCertificateWorld(2)...)
	}
	return worlds
}

func TestExploreEveryWorld(t *testing.T) {
	worlds := worldsToExplore()
	if len(worlds) == 0 {
		t.Fatal("no such world")
	}
	var total exploredTotal
	queue := make(chan *exploredWorld)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for w := range queue {
				total.add(t, w)
			}
		})
	}
	for _, w := range worlds {
		queue <- w
	}
	close(queue)
	workers.Wait()
	t.Logf("%d worlds, %d cut off, %d situations, %d transitions", total.worlds, total.cut,
		total.situations, total.transitions)
}

// exploredTotal counts what was explored.
type exploredTotal struct {
	mu                                   sync.Mutex
	worlds, cut, situations, transitions int
}

// budget is the number of situations after which a world is cut off.
func budget(x *exploration) int {
	switch {
	case x.world.certificates > 0 && !(x.world.named && everything()):
		return 5_000
	case x.world.named:
		return 30_000
	case x.hopeful():
		return 15_000
	}
	return 3_000
}

// add explores a world, and reports what is wrong in it.
func (total *exploredTotal) add(t *testing.T, w *exploredWorld) {
	start := time.Now()
	x := newExploration(w)
	x.explore(budget(x))
	for _, v := range x.violations {
		t.Errorf("%s\nviolation %s: %s\n%s", w.name, v.kind, v.text, x.story(v.at, v.choice, nil))
	}
	steps := x.times()
	worst := x.checkBound(t, steps, false, w.bound) + x.checkBound(t, steps, true, w.sleepBound)
	total.mu.Lock()
	defer total.mu.Unlock()
	total.worlds++
	total.situations += len(x.nodes)
	total.transitions += x.transitions
	cut := ""
	if x.cut {
		total.cut++
		cut = " (cut off)"
	}
	t.Logf("%7d situations %8d transitions %5.1fs  %s%s%s", len(x.nodes), x.transitions,
		time.Since(start).Seconds(), w.name, worst, cut)
}

// checkBound says how long a connection takes at most, and fails if that is too long.
func (x *exploration) checkBound(
	t *testing.T, steps []int32, sleeper bool, bound time.Duration,
) string {
	longest, from := x.worst(steps, sleeper)
	if from < 0 {
		return ""
	}
	who := map[bool]string{false: "connected", true: "two minutes at a time"}[sleeper]
	if longest == never || longest > bound {
		takes := strings.ReplaceAll(fmt.Sprint(longest), never.String(), "for ever")
		t.Errorf("%s\nviolation bound: %s: %s, not %v\n%s\nand then\n%s", x.world.name, who, takes,
			bound, x.story(from, -1, nil), x.slowest(steps, from, 60))
	}
	return fmt.Sprintf("; %s within %v", who, longest)
}

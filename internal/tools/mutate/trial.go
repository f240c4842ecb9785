// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// verdict is what has become of a mutant.
type verdict int

const (
	caught      verdict = iota // a test fails
	tooLong                    // the tests do not end in time, which counts as caught
	survived                   // no test does
	notCompiled                // not a program
	unchanged                  // compiled to the same as the unbroken code
	repeated                   // compiled to the same as an earlier mutant
)

// result is what has become of a mutant, and which one stands for it: itself, unless that is
// another that is compiled to the same.
type result struct {
	verdict verdict
	of      int
}

// trial tries mutants.
type trial struct {
	bench    *bench
	mutants  []mutant
	progress func(done int, r result)

	mu      sync.Mutex
	done    int
	results []result
	sums    []sum
	known   map[sum]*once // of what has been run, or is being run
}

// once is a run of the tests that mutants which are compiled to the same share.
type once struct {
	sync.Once
	how outcome
	err error
}

// try returns what has become of each mutant.
func try(
	ctx context.Context, b *bench, mutants []mutant, jobs int, progress func(int, result),
) ([]result, error) {
	unbroken, err := b.warmUp(ctx)
	if err != nil {
		return nil, err
	}
	t := &trial{
		bench: b, mutants: mutants, progress: progress,
		results: make([]result, len(mutants)), sums: make([]sum, len(mutants)),
		known: map[sum]*once{},
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var all sync.WaitGroup
	for range jobs {
		all.Go(func() {
			for i := range next {
				if err := t.one(ctx, i, unbroken); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range mutants {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	all.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	t.repeats()
	return t.results, nil
}

func (t *trial) one(ctx context.Context, i int, unbroken sum) error {
	name := fmt.Sprintf("mutant%d", i)
	path, s, err := t.bench.build(ctx, name, &t.mutants[i])
	if errors.Is(err, errNotCompiled) {
		t.set(i, notCompiled, s)
		return nil
	}
	if err != nil {
		return err
	}
	defer os.Remove(path)
	if !t.mutants[i].compiled {
		s = sha256.Sum256([]byte(name)) // others may see a difference that this package does not
	}
	if s == unbroken {
		t.set(i, unchanged, s)
		return nil
	}
	t.mu.Lock()
	run := t.known[s]
	if run == nil {
		run = &once{}
		t.known[s] = run
	}
	t.mu.Unlock()
	run.Do(func() { run.how, _, run.err = t.bench.test(ctx, path) })
	if run.err != nil {
		return run.err
	}
	t.set(i, map[outcome]verdict{failed: caught, late: tooLong, passed: survived}[run.how], s)
	return nil
}

func (t *trial) set(i int, v verdict, s sum) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.results[i], t.sums[i] = result{v, i}, s
	t.done++
	t.progress(t.done, t.results[i])
}

// repeats finds those that are compiled to the same as one before, in whichever order they were
// tried.
func (t *trial) repeats() {
	first := map[sum]int{}
	for i, r := range t.results {
		if r.verdict != caught && r.verdict != tooLong && r.verdict != survived {
			continue
		}
		if of, ok := first[t.sums[i]]; ok {
			t.results[i] = result{repeated, of}
			continue
		}
		first[t.sums[i]] = i
	}
}

// since is how long something took, to be read.
func since(begun time.Time) time.Duration { return time.Since(begun).Round(time.Second / 10) }

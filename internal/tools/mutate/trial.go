package main

import (
	"context"
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
	survived                   // no test does
	notCompiled                // not a program
	unchanged                  // the very program that the unbroken code makes
	repeated                   // the very program that an earlier mutant makes
)

// result is what has become of a mutant, and which one stands for it: itself, unless that is
// another of the same program.
type result struct {
	verdict verdict
	of      int
}

// trial tries mutants.
type trial struct {
	bench    *bench
	mutants  []mutant
	progress func(done int)

	mu      sync.Mutex
	done    int
	results []result
	sums    []sum         // of the programs; zero if there is none
	known   map[sum]*once // programs that have been run, or are being run
}

// once is a run of the tests that mutants of the same program share.
type once struct {
	sync.Once
	ok  bool
	err error
}

// try returns what has become of each mutant.
func try(ctx context.Context, b *bench, mutants []mutant, jobs int, progress func(int)) (
	[]result, error,
) {
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
	run.Do(func() { run.ok, _, run.err = t.bench.pass(ctx, path) })
	if run.err != nil {
		return run.err
	}
	v := caught
	if run.ok {
		v = survived
	}
	t.set(i, v, s)
	return nil
}

func (t *trial) set(i int, v verdict, s sum) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.results[i], t.sums[i] = result{v, i}, s
	t.done++
	t.progress(t.done)
}

// repeats finds those that are the same program as one before, in whichever order they were tried.
func (t *trial) repeats() {
	first := map[sum]int{}
	for i, r := range t.results {
		if r.verdict != caught && r.verdict != survived {
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

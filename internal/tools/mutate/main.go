// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	dir, pkg, argued string
	list             bool
	min              float64
	sample, jobs     int
	seed             uint64
	run              string
	short            bool
	env              []string
	timeout          time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", ".", "`directory` of the module")
	flag.StringVar(&o.pkg, "pkg", "", "`package` to break, such as ./internal/rules")
	flag.StringVar(&o.argued, "argued", "", "`file` of survivors that may survive, and why")
	flag.BoolVar(&o.list, "list", false, "print the mutants and try none")
	flag.Float64Var(&o.min, "min", 0, "fail if the score is under so many `percent`")
	flag.IntVar(&o.sample, "sample", 0, "try only so many, chosen at random; 0 is all")
	flag.Uint64Var(&o.seed, "seed", 1, "of the choice")
	flag.IntVar(&o.jobs, "jobs", runtime.GOMAXPROCS(0), "how many to try at once")
	flag.StringVar(&o.run, "run", "", "`regexp` of the tests to run, as with go test")
	flag.BoolVar(&o.short, "short", false, "run them with -short")
	flag.DurationVar(&o.timeout, "timeout", 0,
		"how long they may take; 0 is 5 s and four times what they take unbroken")
	flag.Func("env", "`NAME=VALUE` for the tests, besides the environment; may be repeated",
		func(s string) error { o.env = append(o.env, s); return nil })
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.measure(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// measure is the whole program.
func (o *options) measure(ctx context.Context, out, progress io.Writer) error {
	if o.pkg == "" || o.jobs < 1 || flag.NArg() > 0 {
		return errors.New("usage: mutate -dir DIRECTORY -pkg PACKAGE, no arguments; see -help")
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	var arguments []argument
	if o.argued != "" {
		if arguments, err = readArguments(o.argued); err != nil {
			return err
		}
	}
	s, err := load(dir, o.pkg)
	if err != nil {
		return err
	}
	chosen, left := o.choose(s.mutants())
	if o.list {
		for i := range chosen {
			fmt.Fprintln(out, place(dir, &chosen[i]))
		}
		return nil
	}
	work, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	begun := time.Now()
	results, err := try(ctx, &bench{
		module: dir, pattern: o.pkg, dir: s.dir, work: work,
		run: o.run, short: o.short, env: o.env, timeout: o.timeout,
	}, chosen, o.jobs, func(done int, r result) {
		if r.verdict == survived {
			fmt.Fprintln(progress, "survives:", place(dir, &chosen[r.of]))
		}
		if done%100 == 0 {
			fmt.Fprintf(progress, "%d of %d after %v\n", done, len(chosen), since(begun))
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d mutants in %v\n", o.pkg, len(chosen), since(begun))
	r := report{dir: dir, mutants: chosen, results: results}
	r.reasons, r.stale = argue(arguments, chosen, results, left)
	r.print(out)
	return r.judge(o.argued, o.min)
}

// choose returns the mutants to try, in their order, and the others.
func (o *options) choose(all []mutant) (chosen, left []mutant) {
	if o.sample <= 0 || o.sample >= len(all) {
		return all, nil
	}
	order := rand.New(rand.NewPCG(o.seed, 0)).Perm(len(all))
	wanted := order[:o.sample]
	slices.Sort(wanted)
	for i := range all {
		if _, ok := slices.BinarySearch(wanted, i); ok {
			chosen = append(chosen, all[i])
		} else {
			left = append(left, all[i])
		}
	}
	return chosen, left
}

// SPDX-License-Identifier: Apache-2.0

// Command try runs several replicas of the gateway on this machine, against a simulator of DPS and
// an IoT hub in this process, and sends messages for all devices to any of them. It prints where
// each replica's status page is, and how the devices are spread over them; kill one, and see its
// devices move. It needs no Azure subscription, and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the settings of a trial.
type options struct {
	gateway  string
	replicas int
	devices  int
	every    time.Duration
	lease    time.Duration
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("try", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.replicas, "replicas", 3, "how many gateways: 1, or 3 and more")
	flags.IntVar(&o.devices, "devices", 30, "how many devices they share")
	flags.DurationVar(&o.every, "every", time.Second, "time between two messages of a device")
	flags.DurationVar(&o.lease, "lease", 5*time.Second,
		"after how long a dead replica's devices are taken over")
	flags.StringVar(&o.gateway, "gateway", "",
		"a gateway that is built already (default: it is built from the source beside)")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if o.replicas < 1 || o.replicas == 2 || o.devices < 1 || o.every <= 0 {
		fmt.Fprintln(stderr, "try: use 1 or 3 and more replicas, one device at least, and a "+
			"positive time")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	w, err := newWorld(o)
	if err == nil {
		defer w.close()
		err = w.trial(ctx, stdout)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(stderr, "try:", err)
		return 1
	}
	return 0
}

// trial runs until ctx ends.
func (w *world) trial(ctx context.Context, stdout io.Writer) error {
	fmt.Fprintln(stdout, "the gateways start, which takes some seconds")
	if err := w.launchAll(ctx); err != nil {
		return err
	}
	for _, r := range w.replicas {
		fmt.Fprintf(stdout, "%s  %s  mqtt %s  process %d\n", r.name, r.url(), r.mqtt, r.pid())
	}
	if w.options.replicas > 1 {
		fmt.Fprintf(stdout, "kill one: kill -9 %d, and its devices are at the others after some "+
			"%v\n", w.replicas[len(w.replicas)-1].pid(), w.lease+w.lease/5)
	}
	sending := make(chan struct{})
	go func() {
		defer close(sending)
		w.send(ctx, w.every)
	}()
	defer func() { <-sending }()
	before := ""
	for tick := time.Tick(time.Second); ; {
		if now := w.summary(); now != before {
			fmt.Fprintf(stdout, "%s  %s; %s\n", time.Now().Format("15:04:05"), now, w.figures())
			before = now
		}
		select {
		case <-tick:
		case <-ctx.Done():
			fmt.Fprintf(stdout, "the end: %s\n", w.figures())
			return nil
		}
	}
}

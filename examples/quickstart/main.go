// Command quickstart shows, in less than a minute and with no cloud, what a device does that is
// built with package provisioning: it starts a simulated Device Provisioning Service (DPS) and
// three simulated IoT hubs on loopback, and plays a device's life with them in real time, over real
// TLS, HTTPS, MQTT and WebSocket. Every step is checked against what it should be; the exit status
// is 1 if one went otherwise.
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// Exit codes.
const (
	exitAsExpected  = 0
	exitOtherwise   = 1
	exitInterrupted = 130 // as a shell reports a program that Ctrl-C ended
)

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "quickstart: it takes no arguments: go run ./examples/quickstart")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	code, err := run(ctx, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
	}
	os.Exit(code)
}

// run plays on loopback sockets, with a store in a temporary directory. Both are gone when it
// returns.
func run(ctx context.Context, out io.Writer) (code int, err error) {
	dir, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return exitOtherwise, err
	}
	defer os.RemoveAll(dir)
	network, err := simnet.Listen(simnet.ListenConfig{})
	if err != nil {
		return exitOtherwise, err
	}
	defer network.Close()
	w, err := newWorld(network, cache.Dir(dir))
	if err != nil {
		return exitOtherwise, err
	}

	tell := newNarrator(out)
	tell.plain("A device, a simulated DPS and three simulated hubs, on this machine: "+
		"HTTPS and WebSocket on %s, MQTT on %s, store in %s.", network.HTTPSAddr(),
		network.MQTTAddr(), dir)
	r := play(ctx, w, tell, steps)
	if ctx.Err() != nil {
		tell.plain("\ninterrupted")
		return exitInterrupted, nil
	}
	r.print(tell)
	if !r.asExpected() {
		return exitOtherwise, nil
	}
	return exitAsExpected, nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// amqpPort is that of AMQP at the service.
const amqpPort = 5671

// flags is what the command line says.
type flags struct {
	addr    string
	https   int
	mqtt    int
	amqp    int
	idScope string
	caDir   string
	config  string
	faults  string
	state   string
	feedKey string
	webhook string
	console string
	envFile string
}

func (f *flags) set() *flag.FlagSet {
	s := flag.NewFlagSet("simulator", flag.ContinueOnError)
	s.SetOutput(io.Discard)
	s.StringVar(&f.addr, "addr", "127.0.0.1", "`address` to listen on")
	s.IntVar(&f.https, "https", 443, "`port` for HTTPS and MQTT over WebSocket; 0 takes a free one")
	s.IntVar(&f.mqtt, "mqtt", 8883, "`port` for MQTT; 0 takes a free one")
	s.IntVar(&f.amqp, "amqp", amqpPort, "`port` that tells clients of AMQP that it is not "+
		"simulated; 0 leaves it closed, and so does 5671 where that is taken")
	s.StringVar(
		&f.idScope, "id-scope", "",
		"ID `scope` of the DPS instance (default: the configuration's, or 0ne00000001)",
	)
	s.StringVar(&f.caDir, "ca-dir", "", "`directory` of the CA: ca.pem and ca-key.pem are made "+
		"there, or used again (default: a new directory among the temporary files)")
	s.StringVar(&f.config, "config", "", "JSON `file` with hubs, enrollments, "+
		"limits and latencies (default: two hubs and one enrollment group)")
	s.StringVar(&f.faults, "faults", "", "JSON `file` with a timed scenario of faults and moves")
	s.StringVar(
		&f.state, "state", "",
		"`file` to keep enrollments, registrations, devices and twins in, across restarts",
	)
	s.StringVar(
		&f.feedKey, "feed-key-file", "",
		"`file` with the key of the feed, made if there is none (default: a new key at each start)",
	)
	s.StringVar(&f.webhook, "webhook", "", "`URL` that telemetry is sent to, in batches "+
		"(default: the configuration's, or none)")
	s.StringVar(
		&f.console, "console", "",
		"`address` of a web page to watch and operate it, such as 127.0.0.1:8080; whoever "+
			"reaches it may do anything (default: there is none)",
	)
	s.StringVar(
		&f.envFile, "env-file", "",
		"`file` for a shell to read, made when the simulator is ready: it leads a program of your "+
			"own to it",
	)
	return s
}

func readFlags(args []string) (*flags, error) {
	f := new(flags)
	s := f.set()
	if err := s.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, err
	} else if err != nil {
		return nil, mistyped(s, args)
	}
	if s.NArg() > 0 {
		return nil, fmt.Errorf(
			"%s belongs to no flag: every setting is a flag, see simulator -help",
			plainArgument(s.Arg(0)),
		)
	}
	for name, port := range map[string]int{"-https": f.https, "-mqtt": f.mqtt, "-amqp": f.amqp} {
		if port < 0 || port > 65535 {
			return nil, fmt.Errorf(
				"%s %d is no port: ports are 0 to 65535, 0 takes a free one", name, port,
			)
		}
	}
	if f.https == f.mqtt && f.https != 0 {
		return nil, fmt.Errorf("-https and -mqtt are both %d: they need two ports", f.https)
	}
	if f.console != "" {
		if err := checkAddress(f.console); err != nil {
			return nil, err
		}
	}
	if f.addr == "" {
		return nil, errors.New("-addr is empty: give an address, or leave it out")
	}
	return f, nil
}

func printUsage(w io.Writer) {
	var b strings.Builder
	s := new(flags).set()
	s.SetOutput(&b)
	s.PrintDefaults()
	fmt.Fprintf(w, "usage: simulator [flags]\n\n%s", b.String())
}

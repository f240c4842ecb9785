// SPDX-License-Identifier: Apache-2.0

// Command rehome does by hand what a device does: it registers, looks up, sends, listens, and says
// why a device does not connect. README.md has its subcommands and settings.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rehome-iot/rehome/examples/internal/settings"
)

func main() {
	// Ctrl-C ends what is under way in good order; another one, a second later, at once. Whoever
	// sends a signal to a whole group may send it to a process twice.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stop) })
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// command is a subcommand.
type command struct {
	name    string
	does    string // in the list of all
	needs   string // its synopsis, without name and flags
	options func(*program) []settings.Option
	run     func(context.Context, *program) error
}

// commands are in the order of the usage text.
var commands = []command{
	{"derive-key", "make a device's key from its group's", "-registration-id ID",
		(*program).deriveOptions, deriveKey},
	{"register", "register with DPS, once", identity, (*program).timeoutOption, register},
	{"lookup", "ask DPS where the device is assigned", identity, (*program).timeoutOption, lookup},
	{"send", "send messages to the hub", identity, (*program).sendOptions, send},
	{"watch", "show what comes from the hub", identity, (*program).watchOptions, watch},
	{"status", "show what is stored", identity + " -store DIR", nil, status},
	{"why", "say why a device does not connect", identity, (*program).whyOptions, why},
}

const identity = "-id-scope SCOPE -registration-id ID (-key BASE64 | -group-key BASE64 | " +
	"-cert FILE -cert-key FILE)"

func run(
	ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer,
) int {
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch name {
	case "-version", "--version", "version":
		settings.PrintVersion(stdout, "rehome")
		return settings.ExitDone
	case "-h", "-help", "--help", "help":
		printUsage(stdout)
		return settings.ExitDone
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == name })
	if i < 0 {
		return settings.Exit("rehome", settings.UsageError{Err: errNoCommand(name)}, stdout, stderr,
			printUsage)
	}
	c := commands[i]
	p := newProgram(c, stdin, stdout, stderr)
	err := p.Read(args, environment(environ))
	if err != nil {
		err = settings.UsageError{Err: err}
	} else {
		err = c.run(ctx, p)
	}
	code := settings.Exit("rehome "+name, err, stdout, stderr, p.printUsage)
	if status, ok := errors.AsType[statusError](err); ok {
		code = int(status)
	}
	return code
}

// errNoCommand does not repeat what it was given: it may be a key.
func errNoCommand(given string) error {
	var names []string
	for _, c := range commands {
		names = append(names, c.name)
	}
	all := strings.Join(names, ", ")
	switch {
	case given == "":
		return errors.New("there is no subcommand: give one of " + all + " (rehome -help)")
	case strings.HasPrefix(given, "-"):
		return errors.New("the subcommand comes first: give one of " + all + " before the flags")
	}
	return errors.New("there is no such subcommand: give one of " + all + " (rehome -help)")
}

// environment leaves out the variables that begin as the program's do, and are those of the
// project's own tests.
func environment(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains([]string{
			"REHOME_TESTS", "REHOME_TPM", "REHOME_PKCS11", "REHOME_CONSOLE",
			"REHOME_OFFICIAL_CLIENTS", "REHOME_VULN", "REHOME_FLEET",
		}, name)
	})
}

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

const envPrefix = "THERMOSTAT_"

// option is one setting: its flag, and what its text means.
type option struct {
	name   string
	value  string // what stands for the value in the usage text; "" is a switch
	usage  string
	many   bool
	assign func(s *settings, text string) error
}

func text(field func(*settings) *string) func(*settings, string) error {
	return func(s *settings, text string) error {
		if text == "" {
			return errors.New("is empty: give it a value, or leave it out")
		}
		*field(s) = text
		return nil
	}
}

func toggle(field func(*settings) *bool) func(*settings, string) error {
	return func(s *settings, text string) error {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("is a switch: use true or false")
		}
		*field(s) = on
		return nil
	}
}

func duration(
	field func(*settings) *time.Duration, least time.Duration, fix string,
) func(*settings, string) error {
	return func(s *settings, text string) error {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("is not a duration: write it as 30s, 5m or 1h30m")
		}
		if d < least {
			return errors.New(fix)
		}
		*field(s) = d
		return nil
	}
}

// options are in the order of the usage text.
var options = []option{
	{
		name: "id-scope", value: "SCOPE",
		usage:  "ID scope of the DPS instance, such as 0ne00ABCDEF (required)",
		assign: text(func(s *settings) *string { return &s.idScope }),
	},
	{name: "registration-id", value: "ID", usage: "registration ID of this device (required; " +
		"with -cert, the certificate's common name by default)", assign: text(
		func(s *settings) *string { return &s.registrationID },
	)},
	{name: "key", value: "BASE64", usage: "the device's symmetric key; " +
		"better in the environment than on a command line, which everybody on the machine can " +
		"read", assign: text(func(s *settings) *string { return &s.key })},
	{name: "group-key", value: "BASE64", usage: "an enrollment group's key, " +
		"to derive the device's from; for trials: who has it can be any device of the group",
		assign: text(func(s *settings) *string { return &s.groupKey })},
	{
		name: "cert", value: "FILE",
		usage:  "the device's certificate in PEM, leaf first, followed by its chain",
		assign: text(func(s *settings) *string { return &s.cert }),
	},
	{name: "cert-key", value: "FILE", usage: "the certificate's private key in PEM",
		assign: text(func(s *settings) *string { return &s.certKey })},
	{name: "module", value: "ID", usage: "module ID of this device at the hub, to report the " +
		"program's health as; needs -module-key (default none)",
		assign: text(func(s *settings) *string { return &s.module })},
	{name: "module-key", value: "BASE64", usage: "the module's own symmetric key; better in the " +
		"environment, as -key", assign: text(func(s *settings) *string { return &s.moduleKey })},
	{
		name: "store", value: "DIR",
		usage:  "directory to remember the assignment in; without it every start asks DPS",
		assign: text(func(s *settings) *string { return &s.store }),
	},
	{
		name: "endpoint", value: "HOST[:PORT]",
		usage:  "DPS endpoint (default global.azure-devices-provisioning.net)",
		assign: text(func(s *settings) *string { return &s.endpoint }),
	},
	{name: "ca", value: "FILE", usage: "PEM file of authorities to trust besides the system's",
		assign: text(func(s *settings) *string { return &s.ca })},
	{
		name: "transport", value: "auto|https|mqtt|ws",
		usage: "how to register with DPS (default auto)",
		assign: func(s *settings, text string) error {
			for t := dps.Auto; t <= dps.MQTTWebSocket; t++ {
				if text == t.String() {
					s.transport = t
					return nil
				}
			}
			return errors.New("is not a transport: use auto, https, mqtt or ws")
		},
	},
	{
		name: "hub-transport", value: "auto|mqtt|ws",
		usage: "how to connect to the hub (default auto)",
		assign: func(s *settings, text string) error {
			for t := hubconn.Auto; t <= hubconn.MQTTWebSocket; t++ {
				if text == t.String() {
					s.hubTransport = t
					return nil
				}
			}
			return errors.New("is not a transport: use auto, mqtt or ws")
		},
	},
	{name: "connect-to", value: "HOST:PORT:HOST:PORT", many: true,
		usage: "connect to the second host and port in place of the first; empty parts match " +
			"all, or stay (repeatable; in the environment, separated by spaces)", assign: func(
			s *settings, text string,
		) error {
			r, err := parseRedirect(text)
			s.redirects = append(s.redirects, r)
			return err
		}},
	{
		name: "stagger", value: "DURATION",
		usage: "spread a fleet's first request to DPS over this time (default 0s)",
		assign: duration(func(s *settings) *time.Duration {
			return &s.stagger
		}, 0, "is negative: use 0s for none"),
	},
	{
		name: "interval", value: "DURATION", usage: "time between two messages (default 1m)",
		assign: duration(func(s *settings) *time.Duration {
			return &s.interval
		}, 100*time.Millisecond, "is too short: use 100ms or more"),
	},
	{
		name: "log-format", value: "json|text",
		usage: "form of the log on standard error (default json)",
		assign: func(s *settings, text string) error {
			if text != "json" && text != "text" {
				return errors.New("is not a log format: use json or text")
			}
			s.logFormat = text
			return nil
		},
	},
	{name: "status", usage: "print what is stored, as JSON, and exit",
		assign: toggle(func(s *settings) *bool { return &s.status })},
	{name: "version", usage: "print the version and exit",
		assign: toggle(func(s *settings) *bool { return &s.version })},
}

// envName is the environment variable of a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readSettings reads the flags, then the environment for what they leave open. An empty variable is
// none, as a line of an environment file that waits to be filled in; a variable that starts with
// THERMOSTAT_ and stands for no flag is an error, like a flag that does not exist.
func readSettings(args, environ []string) (*settings, error) {
	s := &settings{interval: time.Minute, logFormat: "json", given: map[string]given{}}
	flags := flag.NewFlagSet("thermostat", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	for _, o := range options {
		take := func(value string) error {
			g := s.given[o.name]
			s.given[o.name] = given{
				values: append(g.values, value), origin: "-" + o.name, byFlag: true,
			}
			return nil
		}
		if o.value == "" {
			flags.BoolFunc(o.name, o.usage, take)
		} else {
			flags.Func(o.name, o.usage, take)
		}
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, err
	} else if err != nil {
		return nil, wrongFlag(refused(args, flags.NArg()))
	}
	if flags.NArg() > 0 {
		return nil, errors.New("there is an argument that belongs to no flag: every setting is " +
			"a flag, see thermostat -help")
	}
	if err := s.readEnvironment(environ); err != nil {
		return nil, err
	}
	for _, o := range options {
		g := s.given[o.name]
		for _, value := range g.values {
			if err := o.assign(s, value); err != nil {
				return nil, fmt.Errorf("%s %w", g.origin, err)
			}
		}
	}
	return s, nil
}

func (s *settings) readEnvironment(environ []string) error {
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || value == "" {
			continue
		}
		i := slices.IndexFunc(options, func(o option) bool { return envName(o.name) == name })
		if i < 0 {
			return wrongVariable(name)
		}
		o := options[i]
		if s.given[o.name].byFlag {
			continue
		}
		values := []string{value}
		if o.many {
			values = strings.Fields(value)
		}
		s.given[o.name] = given{values: values, origin: name}
	}
	return nil
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "usage: thermostat -id-scope SCOPE -registration-id ID (-key BASE64 | "+
		"-group-key BASE64 | -cert FILE -cert-key FILE) [-store DIR] [flags]\n\n"+
		"Each flag is an environment variable too: -id-scope is THERMOSTAT_ID_SCOPE. "+
		"The flag wins.\n\n")
	for _, o := range options {
		fmt.Fprintf(w, "  %s\n    \t%s\n", strings.TrimSpace("-"+o.name+" "+o.value), o.usage)
	}
}

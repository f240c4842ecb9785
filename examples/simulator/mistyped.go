// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"regexp"
	"strings"
)

// The simulator prints keys and connection strings for people to copy, so that they turn up where
// they do not belong. No error repeats them.

// mistyped says what is wrong with the arguments, where the flag package would quote it. It has
// left so many of them unread.
func mistyped(s *flag.FlagSet, args []string) error {
	left := s.NArg()
	if left > 0 {
		// It stops before what it cannot read as a flag, and after anything else.
		next := args[len(args)-left]
		for _, begins := range []string{"---", "-=", "--="} {
			if strings.HasPrefix(next, begins) {
				return noFlag(s, next)
			}
		}
	}
	last := args[len(args)-left-1]
	name, _, valued := strings.Cut(strings.TrimLeft(last, "-"), "=")
	switch {
	case !strings.HasPrefix(last, "-"): // the value of the flag before it
		name, valued = strings.TrimLeft(args[len(args)-left-2], "-"), true
	case s.Lookup(name) == nil:
		return noFlag(s, last)
	}
	if valued {
		return fmt.Errorf("-%s is not given a whole number: see simulator -help", name)
	}
	return fmt.Errorf("-%s needs an argument: see simulator -help", name)
}

// noFlag names the flag that an argument begins with, and nothing of what is glued to it; or the
// whole name where it is too plain to be a key.
func noFlag(s *flag.FlagSet, arg string) error {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	found := ""
	s.VisitAll(func(f *flag.Flag) {
		if strings.HasPrefix(name, f.Name) && len(f.Name) > len(found) {
			found = f.Name
		}
	})
	switch {
	case found != "":
		return fmt.Errorf(
			"-%s is not written so: write -%[1]s VALUE or -%[1]s=VALUE, see simulator -help", found,
		)
	case name == "" || len(name) > 16 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") != "":
		return errors.New("there is a flag that does not exist: see simulator -help")
	}
	return fmt.Errorf("-%s does not exist: see simulator -help", name)
}

// plainArgument quotes an argument that looks like a name of a file.
func plainArgument(arg string) string {
	if fileName.MatchString(arg) && (len(arg) < 20 || strings.Contains(arg, ".")) {
		return fmt.Sprintf("%q", arg)
	}
	return "an argument"
}

var (
	fileName = regexp.MustCompile(`^[\w./-]{1,64}$`)
	secret   = regexp.MustCompile(
		`(SharedAccessKey=|SharedAccessSignature )[^\s";]*|[\w+/-]{20,}={1,2}`,
	)
)

// withoutSecrets hides what looks like a key, a connection string's or one that ends in padding,
// in an error: it may be the name of a file that is none, or of a host.
func withoutSecrets(line string) string { return secret.ReplaceAllString(line, "(hidden)") }

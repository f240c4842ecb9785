// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// Exit codes of the programs.
const (
	ExitDone   = 0 // asked to end, and ended
	ExitFailed = 1 // something that should not happen
	ExitUsage  = 2 // a setting or a file is wrong: one line says which
)

// UsageError is a wrong setting, or a file that one names.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }
func (e UsageError) Unwrap() error { return e.Err }

// Exit prints how a program has ended, if there is anything to say, and returns its exit code. Help
// that was asked for is usage's.
func Exit(program string, err error, stdout, stderr io.Writer, usage func(io.Writer)) int {
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, flag.ErrHelp):
		usage(stdout)
		return ExitDone
	}
	// errors.Join puts several into several lines
	fmt.Fprintf(stderr, "%s: %s\n", program, strings.ReplaceAll(err.Error(), "\n", "; "))
	if _, ok := errors.AsType[UsageError](err); ok {
		return ExitUsage
	}
	return ExitFailed
}

// PrintUsage prints a program's synopsis and its settings.
func (s *Settings) PrintUsage(w io.Writer, synopsis string) {
	fmt.Fprintf(w, "usage: %s\n\nEach flag is an environment variable too: -id-scope is %s. "+
		"The flag wins.\n\n", synopsis, s.EnvName("id-scope"))
	for _, o := range s.options {
		printOption(w, o)
	}
}

func printOption(w io.Writer, o Option) {
	fmt.Fprintf(w, "  %s\n    \t%s\n", strings.TrimSpace("-"+o.Name+" "+o.Value), o.Usage)
}

// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// help is the command that prints the settings.
func (s *Settings) help() string { return s.program + " -help" }

// Read reads the flags, then the environment for what they leave open, then the file of UseFile if
// there is one, then the credentials of the service manager. An empty variable is none, as a line
// of an environment file that waits to be filled in; a variable that starts as the program's do and
// stands for no flag is an error, like a flag that does not exist (but see PassOverKubernetes). If
// help is asked for, the error is flag.ErrHelp.
func (s *Settings) Read(args, environ []string) error {
	flags := flag.NewFlagSet(s.program, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	for _, o := range s.options {
		take := func(value string) error {
			g := s.given[o.Name]
			s.given[o.Name] = given{
				values: append(g.values, value), origin: "-" + o.Name, byFlag: true,
			}
			return nil
		}
		if o.Value == "" {
			flags.BoolFunc(o.Name, o.Usage, take)
		} else {
			flags.Func(o.Name, o.Usage, take)
		}
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return s.wrongFlag(refused(args, flags.NArg()))
	}
	if flags.NArg() > 0 {
		return errors.New("there is an argument that belongs to no flag: every setting is " +
			"a flag, see " + s.help())
	}
	if err := s.readEnvironment(environ); err != nil {
		return err
	}
	if s.readFile != nil {
		if err := s.readFile(); err != nil {
			return err
		}
	}
	if err := s.readLoaded(environ); err != nil {
		return err
	}
	for _, o := range s.options {
		g := s.given[o.Name]
		for _, value := range g.values {
			if err := o.Assign(value); err != nil {
				return fmt.Errorf("%s %w", g.origin, err)
			}
		}
	}
	return nil
}

func (s *Settings) readEnvironment(environ []string) error {
	if err := s.readVariables(environ, s.prefix(), true); err != nil {
		return err
	}
	for _, program := range s.given[EnvOf].values {
		if err := s.readVariables(environ, prefixOf(program), false); err != nil {
			return err
		}
	}
	return nil
}

// readVariables reads the variables that begin with a prefix. Those of another program may stand
// for what this one has no flag for, and fill what nobody has set.
func (s *Settings) readVariables(environ []string, prefix string, own bool) error {
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok || value == "" {
			continue
		}
		i := slices.IndexFunc(s.options, func(o Option) bool {
			return s.variable(o) == s.prefix()+rest
		})
		if i < 0 && own && s.passOver != nil && s.passOver(rest, value) {
			continue
		}
		if i < 0 && own {
			return s.wrongVariable(name)
		}
		if i < 0 || s.given[s.options[i].Name].byFlag || !own && s.Given(s.options[i].Name) {
			continue
		}
		o := s.options[i]
		values := []string{value}
		if o.Many {
			values = strings.Fields(value)
		}
		s.given[o.Name] = given{values: values, origin: name}
	}
	return nil
}

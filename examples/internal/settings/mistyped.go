// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// What is glued to the name of a setting may be a key, so of a name that does not exist nothing is
// shown but the setting that it begins with, or the whole of it where it is too plain to be a key.

// refused returns the argument at which the flag package stopped, with so many left. It leaves one
// that it cannot even read as a flag, such as ---key, and takes any other.
func refused(args []string, left int) string {
	if left > 0 {
		next := args[len(args)-left]
		for _, begins := range []string{"---", "-=", "--="} {
			if strings.HasPrefix(next, begins) {
				return next
			}
		}
	}
	return args[len(args)-left-1]
}

// wrongFlag says what is wrong with an argument that is no flag. The flag package would quote it.
func (s *Settings) wrongFlag(arg string) error {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	if o, ok := s.beginning(name, func(o Option) string { return o.Name }); ok {
		// As it stands it would have been taken, so what follows is missing.
		if strings.TrimLeft(arg, "-") == o.Name && !strings.HasPrefix(arg, "---") {
			return fmt.Errorf("-%s needs an argument: see %s", o.Name, s.help())
		}
		form := "-" + o.Name
		if o.Value != "" {
			form += " " + o.Value + " or -" + o.Name + "=" + o.Value
		}
		return fmt.Errorf("-%s is not written so: write %s, see %s", o.Name, form, s.help())
	}
	if name == "" || len(name) > 16 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") != "" {
		return errors.New("there is a flag that does not exist: see " + s.help())
	}
	return fmt.Errorf("-%s does not exist: see %s", name, s.help())
}

// wrongVariable says the same of an environment variable.
func (s *Settings) wrongVariable(name string) error {
	if o, ok := s.beginning(name, s.variable); ok {
		return fmt.Errorf(
			"%s is not written so: write %[1]s=%s (%s lists the settings)",
			s.EnvName(o.Name), cmp.Or(o.Value, "true"), s.help(),
		)
	}
	if len(name) > 40 || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
		name = "a variable that starts with " + s.prefix()
	}
	return fmt.Errorf(
		"%s is not a setting: remove it, or correct its name (%s lists them)", name, s.help(),
	)
}

// beginning finds the setting with the longest name that a text begins with.
func (s *Settings) beginning(text string, name func(Option) string) (best Option, found bool) {
	for _, o := range s.options {
		n := name(o)
		if n != "" && len(text) >= len(n) && strings.EqualFold(text[:len(n)], n) &&
			(!found || len(o.Name) > len(best.Name)) {
			best, found = o, true
		}
	}
	return best, found
}

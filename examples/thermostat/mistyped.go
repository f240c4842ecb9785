package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
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
func wrongFlag(arg string) error {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	if o, ok := beginning(name, func(o option) string { return o.name }); ok {
		// As it stands it would have been taken, so what follows is missing.
		if strings.TrimLeft(arg, "-") == o.name && !strings.HasPrefix(arg, "---") {
			return fmt.Errorf("-%s needs an argument: see thermostat -help", o.name)
		}
		form := "-" + o.name
		if o.value != "" {
			form += " " + o.value + " or -" + o.name + "=" + o.value
		}
		return fmt.Errorf("-%s is not written so: write %s, see thermostat -help", o.name, form)
	}
	if name == "" || len(name) > 16 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") != "" {
		return errors.New("there is a flag that does not exist: see thermostat -help")
	}
	return fmt.Errorf("-%s does not exist: see thermostat -help", name)
}

// wrongVariable says the same of an environment variable.
func wrongVariable(name string) error {
	if o, ok := beginning(name, func(o option) string { return envName(o.name) }); ok {
		return fmt.Errorf(
			"%s is not written so: write %[1]s=%s (thermostat -help lists the settings)",
			envName(o.name), cmp.Or(o.value, "true"),
		)
	}
	if len(name) > 40 || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
		name = "a variable that starts with " + envPrefix
	}
	return fmt.Errorf(
		"%s is not a setting: remove it, or correct its name (thermostat -help lists them)", name,
	)
}

// beginning finds the setting with the longest name that a text begins with.
func beginning(text string, name func(option) string) (option, bool) {
	found := slices.DeleteFunc(slices.Clone(options), func(o option) bool {
		n := name(o)
		return len(text) < len(n) || !strings.EqualFold(text[:len(n)], n)
	})
	if len(found) == 0 {
		return option{}, false
	}
	return slices.MaxFunc(found, func(a, b option) int {
		return cmp.Compare(len(a.name), len(b.name))
	}), true
}

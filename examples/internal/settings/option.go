// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Option is one setting: its flag, and what its text means.
type Option struct {
	Name     string
	Value    string // what stands for the value in the usage text; "" is a switch
	Usage    string
	Many     bool // may be given more than once
	FlagOnly bool // has no environment variable
	Secret   bool // may come as a file in the directory of the service manager's credentials
	// Assign takes the setting's text. Its error continues a line that begins with the flag.
	Assign func(text string) error
}

// Text assigns a text that is not empty.
func Text(field *string) func(string) error {
	return func(text string) error {
		if text == "" {
			return errors.New("is empty: give it a value, or leave it out")
		}
		*field = text
		return nil
	}
}

// Toggle assigns a switch.
func Toggle(field *bool) func(string) error {
	return func(text string) error {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("is a switch: use true or false")
		}
		*field = on
		return nil
	}
}

// Duration assigns a duration. One shorter than least gets fix for an answer.
func Duration(field *time.Duration, least time.Duration, fix string) func(string) error {
	return func(text string) error {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("is not a duration: write it as 30s, 5m or 1h30m")
		}
		if d < least {
			return errors.New(fix)
		}
		*field = d
		return nil
	}
}

// OneOf assigns one of some words. Another text gets fix for an answer.
func OneOf(field *string, fix string, words ...string) func(string) error {
	return func(text string) error {
		if !slices.Contains(words, text) {
			return errors.New(fix)
		}
		*field = text
		return nil
	}
}

// EnvOf is the flag of a program that takes what is not set from the variables of another program,
// whose name is its value.
const EnvOf = "env-of"

// prefix begins the names of the program's environment variables.
func (s *Settings) prefix() string {
	program, _, _ := strings.Cut(s.program, " ")
	return prefixOf(program)
}

func prefixOf(program string) string {
	return strings.ToUpper(strings.ReplaceAll(program, "-", "_")) + "_"
}

// EnvName is the environment variable of a flag.
func (s *Settings) EnvName(flag string) string {
	return s.prefix() + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// variable is the environment variable of an option, "" if it has none.
func (s *Settings) variable(o Option) string {
	if o.FlagOnly {
		return ""
	}
	return s.EnvName(o.Name)
}

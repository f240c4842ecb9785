// SPDX-License-Identifier: Apache-2.0

// Package settings reads what the example programs for devices are told by flags, by the
// environment and by the files that these name: who the device is, and how it reaches DPS and its
// hub. Whatever is wrong ends in one line that names the setting and the fix, and shows no secret.
package settings

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// Settings is what the flags and the environment say. New makes one.
type Settings struct {
	IDScope        string
	RegistrationID string
	Key            string
	GroupKey       string
	Cert           string
	CertKey        string
	SecondKey      string
	SecondCert     string
	SecondCertKey  string
	CSR            bool
	Module         string
	ModuleKey      string
	Store          string
	Endpoint       string
	CA             string
	Transport      dps.Transport
	HubTransport   hubconn.Transport
	Redirects      Redirects
	Stagger        time.Duration

	Warnings []string // things that work, and should not stay so; Device adds to them

	program string // and its subcommand, as somebody types it
	options []Option
	given   map[string]given // by the flag's name

	readFile func() error                  // nil: the program has no file of settings
	passOver func(rest, value string) bool // variables that are none of the program's; or nil
}

// New returns the settings of a program, with an option for each field. The program is as somebody
// types it, with its subcommand if it has some: its first word, in capitals, begins the names of
// the environment variables.
func New(program string) *Settings {
	s := &Settings{program: program, given: map[string]given{}}
	s.options = s.ofDevice()
	return s
}

// Add adds options of the program's own, behind those that all programs have.
func (s *Settings) Add(options ...Option) { s.options = append(s.options, options...) }

// Only takes the options away whose names are not among these, for a program that needs few.
func (s *Settings) Only(names ...string) {
	s.options = slices.DeleteFunc(s.options, func(o Option) bool {
		return !slices.Contains(names, o.Name)
	})
}

// Options are in the order of the usage text.
func (s *Settings) Options() []Option { return s.options }

// given is a setting that somebody made.
type given struct {
	values []string
	origin string // "-key" or "THERMOSTAT_KEY"
	byFlag bool
}

// Given says whether somebody made a setting.
func (s *Settings) Given(name string) bool {
	_, ok := s.given[name]
	return ok
}

// Take notes where the text of a setting came from that was neither a flag's nor a variable's, so
// that an error names that.
func (s *Settings) Take(name, origin, text string) {
	s.given[name] = given{values: []string{text}, origin: origin}
}

// Origin is what a setting was called where it was made, for messages.
func (s *Settings) Origin(name string) string { return s.origin(name) }

func (s *Settings) origin(name string) string {
	if g, ok := s.given[name]; ok {
		return g.origin
	}
	return "-" + name
}

// Wrong says what is wrong with a setting. The text of a setting that looks like a key is not
// repeated: it may be one, in the wrong place.
func (s *Settings) Wrong(name string, err error) error {
	for _, value := range s.given[name].values {
		if LooksLikeKey(value) {
			return fmt.Errorf(
				"%s cannot be right: what it was given looks like a key", s.origin(name),
			)
		}
	}
	if failure, ok := errors.AsType[*dps.Error](err); ok && failure.Err != nil {
		err = failure.Err
	}
	return fmt.Errorf("%s: %s", s.origin(name), strings.Join(strings.Fields(err.Error()), " "))
}

// read reads a file that a setting names.
func (s *Settings) read(name, path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, s.Wrong(name, fmt.Errorf("%w: name a pem file that this user can read", err))
	}
	return data, nil
}

// LooksLikeKey finds what may be a key. Keys of 32 and 64 bytes, which is what the services make,
// end in padding, also where their beginning was not copied. A path does not.
func LooksLikeKey(value string) bool {
	return len(value) >= 24 && strings.HasSuffix(value, "=") && !strings.ContainsFunc(
		value, func(r rune) bool { return !strings.ContainsRune(base64Alphabet, r) },
	) || strings.Contains(value, "PRIVATE KEY") || strings.Contains(value, "SharedAccess")
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="

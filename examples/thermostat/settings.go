package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// settings is what the flags and the environment say.
type settings struct {
	idScope        string
	registrationID string
	key            string
	groupKey       string
	cert           string
	certKey        string
	module         string
	moduleKey      string
	store          string
	endpoint       string
	ca             string
	transport      dps.Transport
	hubTransport   hubconn.Transport
	redirects      redirects
	stagger        time.Duration
	interval       time.Duration
	logFormat      string
	status         bool
	version        bool

	given    map[string]given // by the flag's name
	warnings []string         // things that work, and should not stay so
}

// given is a setting that somebody made.
type given struct {
	values []string
	origin string // "-key" or "THERMOSTAT_KEY"
	byFlag bool
}

// origin is what a setting was called where it was made, for error messages.
func (s *settings) origin(name string) string {
	if g, ok := s.given[name]; ok {
		return g.origin
	}
	return "-" + name
}

// wrong says what is wrong with a setting. The text of a setting that looks like a key is not
// repeated: it may be one, in the wrong place.
func (s *settings) wrong(name string, err error) error {
	for _, value := range s.given[name].values {
		if looksLikeKey(value) {
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
func (s *settings) read(name, path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, s.wrong(name, fmt.Errorf("%w: name a pem file that this user can read", err))
	}
	return data, nil
}

// looksLikeKey: keys of 32 and 64 bytes, which is what the services make, end in padding, also
// where their beginning was not copied. A path does not.
func looksLikeKey(value string) bool {
	return len(value) >= 24 && strings.HasSuffix(value, "=") && !strings.ContainsFunc(
		value, func(r rune) bool { return !strings.ContainsRune(base64Alphabet, r) },
	) || strings.Contains(value, "PRIVATE KEY") || strings.Contains(value, "SharedAccess")
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="

// check asks the library about the settings, one at a time, so that the answer can name the flag.
func (s *settings) check(dev *provisioning.Device) error {
	client := dps.Client{IDScope: s.idScope, Attestation: dev.Attestation}
	if err := client.Validate(); err != nil {
		return s.wrong("id-scope", err)
	}
	client.Endpoint = s.endpoint
	if err := client.Validate(); err != nil {
		return s.wrong("endpoint", err)
	}
	if err := s.checkModule(); err != nil {
		return err
	}
	return s.checkStore()
}

// checkStore finds a store that can never work. One that is read-only or full is no reason to stop:
// the device goes on, and says so.
func (s *settings) checkStore() error {
	if s.store == "" {
		s.warnings = append(
			s.warnings, "-store is missing: nothing is remembered, and every start asks dps",
		)
		if s.status {
			return errors.New("-status needs -store: the directory to look into")
		}
		return nil
	}
	info, err := os.Stat(s.store)
	switch {
	case err == nil && !info.IsDir():
		return s.wrong("store", fmt.Errorf("%q is a file: name a directory", s.store))
	case errors.Is(err, os.ErrNotExist):
		parent, err := os.Stat(filepath.Dir(filepath.Clean(s.store)))
		if err != nil || !parent.IsDir() {
			return s.wrong("store", fmt.Errorf(
				"%q cannot be made: the directory it should be in does not exist", s.store,
			))
		}
	case errors.Is(err, os.ErrPermission):
		return s.wrong("store", fmt.Errorf(
			"%q cannot be opened by this user: give it to the user that runs thermostat", s.store,
		))
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rehome-iot/rehome/examples/pkcs11/hsm"
)

// Secrets are given by files, or by these variables: flags can be seen by everybody on a machine.
const (
	pinVariable = "PKCS11_PIN"
	keyVariable = "DEVICE_KEY"
)

// settings are the flags.
type settings struct {
	module, token, pinFile string
	sessions               int

	id, scope, store, roots, simulator string
	keyFile, cert, keyLabel            string

	send     string
	interval time.Duration
	count    int

	renew, csr, list bool
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet("pkcs11", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "A device whose private keys are in a PKCS #11 token. Flags:")
		f.PrintDefaults()
	}
	f.StringVar(&s.module, "module", "", "`path` of the token's library")
	f.StringVar(&s.token, "token", "", "`label` of the token")
	f.StringVar(&s.pinFile, "pin-file", "", "`file` of the user's PIN; else "+pinVariable+" is it")
	f.IntVar(&s.sessions, "sessions", 0, "how `many` sessions with the token at once; 0: 4")
	f.StringVar(&s.id, "id", "", "registration `ID`")
	f.StringVar(&s.scope, "scope", "", "`ID` scope of DPS")
	f.StringVar(&s.store, "store", "", "`directory` of what the device remembers")
	f.StringVar(&s.roots, "roots", "", "PEM `file` of the roots to trust; empty: those of Azure")
	f.StringVar(&s.simulator, "simulator", "",
		"`file` with the line that the simulator has printed: it is used in place of Azure")
	f.StringVar(&s.keyFile, "key-file", "", "`file` of the enrollment's symmetric key, in base64; "+
		"else "+keyVariable+" is it")
	f.StringVar(&s.cert, "cert", "", "PEM `file` of the certificate to register with, in place of "+
		"a symmetric key")
	f.StringVar(&s.keyLabel, "cert-key", "onboarding", "`label` of that certificate's key in the "+
		"token")
	f.StringVar(&s.send, "send", "hello", "`body` of the messages")
	f.DurationVar(&s.interval, "interval", 10*time.Second, "`time` between messages")
	f.IntVar(&s.count, "count", 0, "end after so `many` messages; 0: never")
	f.BoolVar(&s.renew, "renew", false, "renew the certificate after the first message")
	f.BoolVar(&s.csr, "csr", false, "make the key of -cert-key if there is none, print a signing "+
		"request for it, and end")
	f.BoolVar(&s.list, "list", false, "print the keys in the token, and end")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%w; -help shows the flags", err)
	}
	return s, s.validate(f.Args())
}

func (s *settings) validate(rest []string) error {
	needed := func(name, value, what string) error {
		if value == "" {
			return fmt.Errorf("-%s is missing: give %s", name, what)
		}
		return nil
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is no flag; -help shows them", rest[0])
	case s.csr && s.list:
		return errors.New("-csr and -list: give one of them")
	case s.sessions < 0 || s.count < 0:
		return errors.New("-sessions and -count are numbers of 0 or more")
	case s.interval <= 0:
		return errors.New("-interval is no time above 0, such as 10s")
	}
	err := errors.Join(
		needed("module", s.module, "the path of the token's library"),
		needed("token", s.token, "the token's label"),
	)
	if s.pinFile == "" && os.Getenv(pinVariable) == "" {
		err = errors.Join(err, fmt.Errorf("-pin-file is missing: give it, or set %s", pinVariable))
	}
	if !s.list {
		err = errors.Join(err, needed("id", s.id, "the registration ID"))
	}
	if !s.list && !s.csr {
		err = errors.Join(err, needed("store", s.store, "a directory"))
		if s.simulator == "" {
			err = errors.Join(err, needed("scope", s.scope, "the ID scope of DPS"))
		}
		switch key := s.keyFile != "" || os.Getenv(keyVariable) != ""; {
		case s.cert != "" && s.keyFile != "":
			err = errors.Join(err, errors.New("-cert and -key-file: give one of them"))
		case s.cert == "" && !key:
			err = errors.Join(err, fmt.Errorf(
				"there is nothing to register with: give -cert or -key-file, or set %s",
				keyVariable))
		}
	}
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return all.Unwrap()[0] // the others follow when this one is repaired
	}
	return err
}

// hsm is the token. It is not opened yet.
func (s *settings) hsm() *hsm.Token {
	pin := hsm.PINVariable(pinVariable)
	if s.pinFile != "" {
		pin = hsm.PINFile(s.pinFile)
	}
	return &hsm.Token{Module: s.module, Label: s.token, PIN: pin, Sessions: s.sessions}
}

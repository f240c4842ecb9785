// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) (status int) {
	var expected []*regexp.Regexp
	var keys []key
	flags := flag.NewFlagSet("canary", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Func("expect", "`regexp` that a line of some file must match; may be repeated",
		func(s string) error {
			re, err := regexp.Compile("(?m)" + s)
			expected = append(expected, re)
			return err
		})
	flags.Func("keys", "look for the keys in the Go files below `directory`, too, "+
		"of which there must be some; may be repeated", func(dir string) error {
		found, err := keysIn(dir)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("there is no key in %s", dir)
		}
		keys = append(keys, found...)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return 2
	}
	forms := slices.Concat(formsOf(mark), shapes, formsOfAll(keys))
	finds, err := search(flags.Args(), forms, expected)
	for _, f := range finds {
		fmt.Fprintln(stdout, f)
	}
	if err != nil {
		fmt.Fprintln(stderr, "canary:", err)
	}
	switch {
	case len(finds) > 0:
		return 1
	case err != nil:
		return 2
	}
	fmt.Fprintf(
		stdout, "no key and no token in %d files; looked for %d forms of secrets\n", flags.NArg(),
		len(forms),
	)
	return 0
}

// search returns the finds in the files; the error is why a search without any find proves nothing.
func search(files []string, forms []form, expected []*regexp.Regexp) (finds []find, err error) {
	if len(files) == 0 {
		return nil, errors.New("no file to look at")
	}
	seen := make([]bool, len(expected))
	for _, name := range files {
		text, readErr := os.ReadFile(name)
		if readErr == nil && len(text) == 0 {
			readErr = fmt.Errorf("%s is empty", name)
		}
		err = errors.Join(err, readErr)
		finds = append(finds, look(name, text, forms)...)
		for i, re := range expected {
			seen[i] = seen[i] || re.Match(text)
		}
	}
	for i, re := range expected {
		if !seen[i] {
			err = errors.Join(
				err, fmt.Errorf("no line matches %s: the output is not what it should be", re),
			)
		}
	}
	return finds, err
}

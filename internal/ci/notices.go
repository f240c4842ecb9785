// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// noticesFile is what the licences of linked modules ask to be part of every copy.
const noticesFile = "third-party-notices.txt"

// released are the programs of a release, by name.
var released = []string{"thermostat", "simulator", "rehome"}

// licence is what a file with a licence, or with what one asks for, is called.
var licence = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|edl|epl)`)

// notices writes the licences of what is linked into the programs of a release.
func (w *workshop) notices() error {
	modules, err := linked(nil, released...)
	if err != nil {
		return err
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "The programs contain the following, under the licences below.\n")
	goroot := strings.TrimSpace(string(out))
	if err := appendLicences(&text, "Go and its standard library", goroot); err != nil {
		return err
	}
	for _, m := range modules {
		if err := appendLicences(&text, m.Path+" "+m.Version, m.Dir); err != nil {
			return err
		}
	}
	return os.WriteFile(w.path(noticesFile), text.Bytes(), 0o644)
}

// linkedModule is one that programs of a release are linked from, besides this.
type linkedModule struct {
	Path, Version, Dir string
	Main               bool
}

// linked are those of some programs of a release, as they are built with settings in the
// environment, such as GOOS=linux.
func linked(settings []string, programs ...string) (modules []linkedModule, err error) {
	args := []string{"list", "-deps", "-json=Module"}
	for _, name := range programs {
		args = append(args, "./examples/"+name)
	}
	list := exec.Command("go", args...)
	list.Env = append(os.Environ(), settings...)
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ Module *linkedModule }
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if p.Module != nil && !p.Module.Main && !slices.Contains(modules, *p.Module) {
			modules = append(modules, *p.Module)
		}
	}
	slices.SortFunc(modules, func(a, b linkedModule) int { return strings.Compare(a.Path, b.Path) })
	return modules, nil
}

// appendLicences appends all files of a licence in a directory; there must be one.
func appendLicences(text *bytes.Buffer, of, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	found := false
	for _, e := range entries {
		if e.IsDir() || !licence.MatchString(e.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		found = true
		fmt.Fprintf(text, "\n%s\n%s: %s\n\n%s\n", strings.Repeat("=", 80), of, e.Name(),
			bytes.TrimSpace(data))
	}
	if !found {
		return fmt.Errorf("%s: no licence in %s: what is released has to have one", of, dir)
	}
	return nil
}

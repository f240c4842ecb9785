// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// cyclonedx reads a bill of materials out of a binary.
const cyclonedx = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod"

// bills is where the bills of materials are left.
const bills = "bin"

// sbom writes what is linked into each program of a release as it is built here, with versions and
// hashes, as CycloneDX. A release has the same for all systems.
func (w *workshop) sbom() error {
	tool, err := w.tool("release", cyclonedx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(bills, 0o700); err != nil {
		return err
	}
	for _, name := range released {
		binary := w.path("sbom-" + name)
		args := append(slices.Clone(asReleased), "-o", binary, "./examples/"+name)
		build := command("go", args...)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if err := build.Run(); err != nil {
			return err
		}
		bill := filepath.Join(bills, name+".cdx.json")
		c := exec.Command(tool, "bin", "-json", "-std", "-noserial", "-output", bill, binary)
		if log, err := w.logged("sbom.log", c); err != nil {
			return fmt.Errorf("%w\n%s", err, last(30, log))
		}
		modules, err := linked([]string{"CGO_ENABLED=0"}, name)
		if err == nil {
			err = checkBill(bill, modules)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", bill, err)
		}
		say(os.Stdout, "%s", bill)
	}
	return nil
}

// checkBill compares a program's bill of materials with the modules that are linked into it, and
// the standard library: it has all of them, and nothing else.
func checkBill(path string, modules []linkedModule) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var bill struct {
		BomFormat  string
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(data, &bill); err != nil {
		return fmt.Errorf("is no bill of materials: %w", err)
	}
	if bill.BomFormat != "CycloneDX" {
		return fmt.Errorf("is no bill of materials: its format is %q", bill.BomFormat)
	}
	missing := map[string]bool{"std": true}
	for _, m := range modules {
		missing[m.Path+" "+m.Version] = true
	}
	for _, c := range bill.Components {
		component := c.Name + " " + c.Version
		if c.Name == "std" {
			component = c.Name // in whatever version the tool calls it
		}
		if !missing[component] {
			return fmt.Errorf("names %s, which is not linked, or names it twice", component)
		}
		delete(missing, component)
	}
	if len(missing) > 0 {
		return fmt.Errorf("does not name what is linked: %s",
			strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
	}
	return nil
}

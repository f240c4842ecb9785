// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	modules, err := linked()
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
		if err := checkBill(bill, modules); err != nil {
			return fmt.Errorf("%s: %w", bill, err)
		}
		say(os.Stdout, "%s", bill)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const officialLog = "official.log"

// official runs the service's own clients, and plain ones, unmodified, against the simulators,
// under the race detector.
func (w *workshop) official() error {
	if err := install(officialClients); err != nil {
		return err
	}
	c := exec.Command("go", "test", "-race", "-shuffle=on", "-count=1", "-v", "-timeout", "30m",
		"."+officialClients)
	c.Env = append(os.Environ(), "REHOME_OFFICIAL_CLIENTS=required")
	return w.withoutSkips(officialLog, c)
}

// install installs the Node programs of a package's tests. They are pinned by the lock file, which
// names versions and digests and no address to download from: what npm is set up with decides that.
func install(pkg string) error {
	dir := filepath.Join(".", filepath.FromSlash(pkg), "testdata")
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	if strings.Contains(string(lock), `"resolved"`) {
		return fmt.Errorf("package-lock.json names download addresses: .npmrc keeps them out")
	}
	install := command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund",
		"--loglevel=error")
	install.Dir = dir
	if err := install.Run(); err != nil {
		return fmt.Errorf("npm ci: %w", err)
	}
	return nil
}

// withoutSkips runs tests of which none may be skipped.
func (w *workshop) withoutSkips(log string, c *exec.Cmd) error {
	if err := w.tests(log, c); err != nil {
		return err
	}
	text, err := os.ReadFile(w.path(log))
	if err != nil {
		return err
	}
	if line := skipped.FindString(string(text)); line != "" {
		return fmt.Errorf("a test was skipped: %s", line)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

// Package softhsm runs tests against tokens in software, those of SoftHSM 2. They, and not a
// double, are what keys are made in.
package softhsm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// PIN is the user's of every token here, and SOPIN the security officer's.
const (
	PIN   = "canary-pin-0042"
	SOPIN = "canary-so-pin-0042"
)

// places are where distributions have the module.
var places = []string{
	"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// Module returns the path of the module. It skips the test where there is none.
func Module(t testing.TB) string {
	t.Helper()
	Need(t, "softhsm2-util")
	for _, place := range places {
		if _, err := os.Stat(place); err == nil {
			return place
		}
	}
	missing(t, fmt.Errorf("libsofthsm2.so is in none of %v", places))
	return ""
}

// Need skips the test where a program is not installed.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, err)
		}
	}
}

// missing skips the test, unless REHOME_PKCS11=required.
func missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("REHOME_PKCS11") == "required" {
		t.Fatalf("REHOME_PKCS11=required, and %v", err)
	}
	t.Skipf("NOT TESTED AGAINST A PKCS #11 TOKEN: %v (Debian: softhsm2, openssl, jq)", err)
}

// Main runs the tests of a package with a directory of tokens of its own, which a process has one
// of: the module reads where it is when it starts.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "softhsm")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := Configure(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Configure has this process, and those that it starts, keep tokens in a directory.
func Configure(dir string) error {
	settings := filepath.Join(dir, "softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nlog.level = ERROR\n", Tokens(dir))
	if err := os.MkdirAll(Tokens(dir), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Setenv("SOFTHSM2_CONF", settings)
}

// Tokens is where the tokens are that Configure has named.
func Tokens(dir string) string { return filepath.Join(dir, "tokens") }

// Dir is where this process's tokens are.
func Dir() string { return Tokens(filepath.Dir(os.Getenv("SOFTHSM2_CONF"))) }

// Init makes a token, with the PIN.
func Init(t testing.TB, label string) {
	t.Helper()
	Module(t)
	out, err := exec.CommandContext(
		t.Context(), "softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN,
		"--so-pin", SOPIN,
	).CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util: %v: %s", err, out)
	}
}

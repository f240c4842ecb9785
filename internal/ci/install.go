// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// image is a directory that packages are installed into, as into a system.
type image struct{ root string }

func (w *workshop) newImage(name string) (image, error) {
	at := image{w.path("image-" + name)}
	state := filepath.Join(at.root, "var", "lib", "dpkg")
	if err := os.MkdirAll(filepath.Join(state, "updates"), 0o755); err != nil {
		return at, err
	}
	for _, file := range []string{"status", "available"} {
		if err := os.WriteFile(filepath.Join(state, file), nil, 0o644); err != nil {
			return at, err
		}
	}
	return at, nil
}

// dpkg runs the scripts of packages on this machine, with DPKG_ROOT in their environment: they
// leave its services alone then.
func (i image) dpkg(args ...string) error {
	command := []string{"dpkg"}
	if os.Geteuid() != 0 {
		command = []string{"fakeroot", "dpkg"}
	}
	command = append(command, "--root="+i.root, "--log="+os.DevNull, "--force-script-chrootless",
		"--force-not-root", "--force-architecture", "--force-confold")
	c := exec.Command(command[0], append(command[1:], args...)...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", c.Args, err, out)
	}
	return nil
}

// installs installs a package for this machine, over settings that a person has changed too, and
// removes it.
func (w *workshop) installs(name string) func(path string) error {
	return func(path string) error {
		at, err := w.newImage(name)
		if err != nil {
			return err
		}
		program := filepath.Join(at.root, "usr", "bin", name)
		if err := at.dpkg("--install", path); err != nil {
			return err
		}
		if out, err := exec.Command(program, "-help").CombinedOutput(); err != nil {
			return fmt.Errorf("%s -help: %w\n%s", name, err, out)
		}
		settings := filepath.Join(at.root, settingsOf[name].path)
		changed := []byte("# changed\n")
		if settings != at.root {
			if err := at.unit(name); err != nil {
				return err
			}
			if err := os.WriteFile(settings, changed, 0o600); err != nil {
				return err
			}
		}
		if err := at.dpkg("--install", path); err != nil { // as an upgrade
			return err
		}
		if err := at.dpkg("--remove", packageName(name)); err != nil {
			return err
		}
		if _, err := os.Stat(program); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(errors.New("removed, it leaves its program"), err)
		}
		if settings == at.root {
			return nil
		}
		if got, err := os.ReadFile(settings); err != nil || !bytes.Equal(got, changed) {
			return errors.Join(fmt.Errorf("settings did not stay: %q", got), err)
		}
		if err := at.dpkg("--purge", packageName(name)); err != nil {
			return err
		}
		if _, err := os.Stat(settings); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(errors.New("purged, it leaves its settings"), err)
		}
		return nil
	}
}

// exposure is how much of the machine a service may reach in systemd's view, of 100.
const exposure = "25"

// unit has systemd read a unit, and judge how much of the machine the service can reach.
func (i image) unit(name string) error {
	text, err := os.ReadFile(filepath.Join(i.root, "usr", "lib", "systemd", "system",
		name+".service"))
	if err != nil {
		return err
	}
	// systemd looks for the program where this machine has its own.
	program := []byte("ExecStart=" + filepath.Join(i.root, "usr", "bin", name))
	text = bytes.Replace(text, []byte("ExecStart="+name), program, 1)
	unit := filepath.Join(i.root, name+".service")
	if err := os.WriteFile(unit, text, 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"verify", "--man=no"},
		{"security", "--offline=yes", "--no-pager", "--threshold=" + exposure},
	} {
		c := exec.Command("systemd-analyze", append(args, unit)...)
		out, err := c.CombinedOutput()
		if err == nil && args[0] == "verify" && len(out) > 0 {
			err = errors.New("systemd has something to say")
		}
		if err != nil {
			return fmt.Errorf("%v: %w\n%s", c.Args, err, last(5, string(out)))
		}
	}
	return nil
}

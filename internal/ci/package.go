// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// platforms are how archives name those that a release is for.
var platforms = []string{
	"linux_armv6", "linux_armv7", "linux_arm64", "linux_riscv64", "linux_mipsle_softfloat",
	"linux_386", "linux_amd64", "windows_amd64",
}

// platformEnvironment is that of a build for a platform.
func platformEnvironment(platform string) []string {
	os, arch, _ := strings.Cut(platform, "_")
	arch, _, _ = strings.Cut(arch, "_") // softfloat
	if strings.HasPrefix(arch, "armv") {
		arch = "arm"
	}
	return []string{"CGO_ENABLED=0", "GOOS=" + os, "GOARCH=" + arch}
}

// debArchitectures and rpmArchitectures are how Debian and RPM name those of packages.
var (
	debArchitectures = []string{"armhf", "arm64", "riscv64", "mipsel", "i386", "amd64"}
	rpmArchitectures = []string{"armv6hl", "aarch64", "riscv64", "mipsel", "i386", "x86_64"}
)

// pack makes what a release of this commit would consist of, and looks into it.
func (w *workshop) pack() error {
	goreleaser, err := w.tool("release", "github.com/goreleaser/goreleaser/v2")
	if err != nil {
		return err
	}
	biller, err := w.tool("release", cyclonedx)
	if err != nil {
		return err
	}
	config, err := os.ReadFile(".goreleaser.yaml")
	if err != nil {
		return err
	}
	dist := w.path("dist")
	config = fmt.Appendf(config, "\ndist: %q\n", dist)
	if err := os.WriteFile(w.path("goreleaser.yaml"), config, 0o600); err != nil {
		return err
	}
	c := exec.Command(goreleaser, "release", "--snapshot", "--clean", "--config",
		w.path("goreleaser.yaml"))
	c.Env = append(os.Environ(),
		"PATH="+filepath.Dir(biller)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	// Without a remote GoReleaser ignores what git says, and files get today's times.
	if remotes, err := exec.Command("git", "remote").Output(); err == nil && len(remotes) == 0 {
		c.Env = append(c.Env, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=remote.origin.url",
			"GIT_CONFIG_VALUE_0=https://github.com/rehome-iot/rehome")
	}
	if text, err := w.logged("goreleaser.log", c); err != nil {
		return fmt.Errorf("goreleaser: %w\n%s", err, last(30, text))
	}
	if err := w.inspect(dist); err != nil {
		return err
	}
	return w.reproduces(dist)
}

// inspect looks into each file of a release.
func (w *workshop) inspect(dist string) error {
	if err := checkSums(dist); err != nil {
		return err
	}
	inspected := 0
	each := func(pattern string, check func(path string) error) error {
		file, err := oneFile(filepath.Join(dist, pattern))
		if err != nil {
			return err
		}
		inspected++
		if err := check(file); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
		return nil
	}
	for _, name := range released {
		for _, platform := range platforms {
			modules, err := linked(platformEnvironment(platform), name)
			if err != nil {
				return err
			}
			err = errors.Join(
				each(name+"_*_"+platform+".[tz]*", func(path string) error {
					return checkArchive(path, name)
				}),
				each(name+"_*_"+platform+".cdx.json", func(path string) error {
					return checkBill(path, modules)
				}),
			)
			if err != nil {
				return err
			}
		}
		for i, deb := range debArchitectures {
			err := errors.Join(
				each(packageName(name)+"_*_"+deb+".deb", func(path string) error {
					return checkPackage(debContents, path, name)
				}),
				each(
					packageName(name)+"-[0-9]*."+rpmArchitectures[i]+".rpm",
					func(path string) error { return checkPackage(rpmContents, path, name) },
				),
			)
			if err != nil {
				return err
			}
		}
		if err := each(packageName(name)+"_*_amd64.deb", w.installs(name)); err != nil {
			return err
		}
	}
	say(os.Stdout, "%d files of a release are as they should be", inspected)
	return nil
}

// checkSums compares every file with its checksum.
func checkSums(dist string) error {
	text, err := os.ReadFile(filepath.Join(dist, "checksums.txt"))
	if err != nil {
		return err
	}
	var named []string
	for line := range strings.Lines(string(text)) {
		sum, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			return fmt.Errorf("checksums.txt: %q", line)
		}
		data, err := os.ReadFile(filepath.Join(dist, name))
		if err != nil {
			return err
		}
		if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != sum {
			return fmt.Errorf("%s has another checksum", name)
		}
		named = append(named, name)
	}
	for _, ending := range []string{".tar.gz", ".zip", ".deb", ".rpm", ".cdx.json"} {
		made, err := filepath.Glob(filepath.Join(dist, "*"+ending))
		if err == nil && len(made) == 0 {
			err = fmt.Errorf("there is no %s", ending)
		}
		if err != nil {
			return err
		}
		for _, path := range made {
			if !slices.Contains(named, filepath.Base(path)) {
				return fmt.Errorf("%s has no checksum", filepath.Base(path))
			}
		}
	}
	return nil
}

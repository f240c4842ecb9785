// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// spoil is how a release may go wrong, and nil how it is.
type spoil func(files map[string]fs.FileMode)

var spoils = map[string]spoil{
	"wrong mode":    func(files map[string]fs.FileMode) { files["thermostat.service"] = 0o755 },
	"no unit":       func(files map[string]fs.FileMode) { delete(files, "thermostat.service") },
	"no licence":    func(files map[string]fs.FileMode) { delete(files, "LICENSE") },
	"no notices":    func(files map[string]fs.FileMode) { delete(files, noticesFile) },
	"no settings":   func(files map[string]fs.FileMode) { delete(files, "thermostat.env") },
	"not a program": func(files map[string]fs.FileMode) { files["thermostat"] = 0o644 },
	"one too many":  func(files map[string]fs.FileMode) { files["id_ed25519"] = 0o644 },
}

func TestAnArchiveThatIsNotWhatItShouldBeIsSeen(t *testing.T) {
	right := map[string]fs.FileMode{
		"thermostat": 0o755, "LICENSE": 0o644, "README.md": 0o644, noticesFile: 0o644,
		"thermostat.service": 0o644, "thermostat.env": 0o644,
	}
	check := func(files map[string]fs.FileMode, text string) error {
		var out bytes.Buffer
		zipped := gzip.NewWriter(&out)
		archive := tar.NewWriter(zipped)
		for name, mode := range files {
			require.NoError(t, archive.WriteHeader(&tar.Header{
				Name: name, Mode: int64(mode), Size: int64(len(text)), Typeflag: tar.TypeReg,
			}))
			_, err := archive.Write([]byte(text))
			require.NoError(t, err)
		}
		require.NoError(t, archive.Close())
		require.NoError(t, zipped.Close())
		path := filepath.Join(t.TempDir(), "a.tar.gz")
		require.NoError(t, os.WriteFile(path, out.Bytes(), 0o600))
		return checkArchive(path, "thermostat")
	}
	require.NoError(t, check(right, "text"))
	assert.Error(t, check(right, ""), "empty files")
	for name, spoil := range spoils {
		files := maps.Clone(right)
		spoil(files)
		assert.Error(t, check(files, "text"), name)
	}
}

func TestAPackageThatIsNotWhatItShouldBeIsSeen(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("needs dpkg-deb")
	}
	const doc = "usr/share/doc/rehome-thermostat/"
	paths := map[string]string{
		"thermostat": "usr/bin/thermostat", "LICENSE": doc + "copyright",
		noticesFile: doc + noticesFile, "thermostat.env": "etc/thermostat.env",
		"thermostat.service": "usr/lib/systemd/system/thermostat.service",
	}
	right := map[string]fs.FileMode{
		"thermostat": 0o755, "LICENSE": 0o644, noticesFile: 0o644, "thermostat.service": 0o644,
		"thermostat.env": 0o600, "DEBIAN/postinst": 0o755, "DEBIAN/prerm": 0o755,
		"DEBIAN/postrm": 0o755, "DEBIAN/conffiles": 0o644,
	}
	check := func(files map[string]fs.FileMode) error {
		dir := t.TempDir()
		write := func(path, text string, mode fs.FileMode) {
			path = filepath.Join(dir, "root", path)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(text), mode))
			require.NoError(t, os.Chmod(path, mode))
		}
		write("DEBIAN/control", "Package: rehome-thermostat\nVersion: 1\nArchitecture: all\n"+
			"Maintainer: nobody <nobody@example.com>\nDescription: a test\n", 0o644)
		for name, mode := range files {
			path, ok := paths[name]
			if !ok {
				path = name
			}
			text := "#!/bin/sh\n"
			if name == "DEBIAN/conffiles" {
				text = "/etc/thermostat.env\n"
			}
			write(path, text, mode)
		}
		path := filepath.Join(dir, "a.deb")
		build := exec.Command("dpkg-deb", "--root-owner-group", "-Znone", "--build",
			filepath.Join(dir, "root"), path)
		out, err := build.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return checkPackage(debContents, path, "thermostat")
	}
	require.NoError(t, check(right))
	for name, spoil := range spoils {
		files := maps.Clone(right)
		spoil(files)
		if name == "no settings" {
			delete(files, "DEBIAN/conffiles") // which dpkg-deb would miss
		}
		assert.Error(t, check(files), name)
	}
	for name, spoil := range map[string]spoil{
		"settings for all to read": func(f map[string]fs.FileMode) { f["thermostat.env"] = 0o644 },
		"settings are replaced":    func(f map[string]fs.FileMode) { delete(f, "DEBIAN/conffiles") },
		"no script":                func(f map[string]fs.FileMode) { delete(f, "DEBIAN/prerm") },
	} {
		files := maps.Clone(right)
		spoil(files)
		assert.Error(t, check(files), name)
	}
}

func TestAFileThatIsNotThatOfItsChecksumIsSeen(t *testing.T) {
	dist := t.TempDir()
	var sums bytes.Buffer
	for _, name := range []string{"a.tar.gz", "a.zip", "a.deb", "a.rpm", "a.cdx.json"} {
		require.NoError(t, os.WriteFile(filepath.Join(dist, name), []byte(name), 0o600))
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256([]byte(name)), name)
	}
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dist, name), []byte(text), 0o600))
	}
	write("checksums.txt", sums.String())
	require.NoError(t, checkSums(dist))
	write("a.deb", "changed since")
	assert.ErrorContains(t, checkSums(dist), "a.deb has another checksum")
	write("a.deb", "a.deb")
	write("b.deb", "made later")
	assert.ErrorContains(t, checkSums(dist), "b.deb has no checksum")
	require.NoError(t, os.Remove(filepath.Join(dist, "b.deb")))
	require.NoError(t, os.Remove(filepath.Join(dist, "a.rpm")))
	assert.Error(t, checkSums(dist))
}

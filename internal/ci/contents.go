// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// content is one file of an archive or a package.
type content struct {
	mode   fs.FileMode
	config bool // is kept when a person has changed it
	size   int64
}

// packageName is what the package of a program is called.
func packageName(name string) string {
	if name == "rehome" {
		return name
	}
	return "rehome-" + name
}

// settingsOf are the settings that a package brings, by the name of its program. Those of the
// thermostat may have its keys.
var settingsOf = map[string]struct {
	path     string
	mode     fs.FileMode
	archived string
}{
	"thermostat": {"/etc/thermostat.env", 0o600, "thermostat.env"},
	"simulator":  {"/etc/rehome-simulator.json", 0o644, "simulator.json"},
}

// wantedIn is what a package of a program has, by path.
func wantedIn(name string) map[string]content {
	doc := "/usr/share/doc/" + packageName(name) + "/"
	want := map[string]content{
		"/usr/bin/" + name: {mode: 0o755},
		doc + "copyright":  {mode: 0o644}, doc + noticesFile: {mode: 0o644},
	}
	if s, ok := settingsOf[name]; ok {
		want[s.path] = content{mode: s.mode, config: true}
		want["/usr/lib/systemd/system/"+name+".service"] = content{mode: 0o644}
	}
	return want
}

// checkPackage compares a package with what it should contain.
func checkPackage(
	read func(path string) (map[string]content, []string, error), path, name string,
) error {
	got, scripts, err := read(path)
	if err != nil {
		return err
	}
	want := wantedIn(name)
	for file, c := range got {
		w, ok := want[file]
		if !ok || c.mode != w.mode || c.config != w.config || c.size == 0 {
			return fmt.Errorf("has %s: %+v, wanted: %v %+v", file, c, ok, w)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("has %d files, wanted are %d: %v", len(got), len(want), got)
	}
	if _, service := settingsOf[name]; service != (len(scripts) == 3) {
		return fmt.Errorf("has the scripts %v", scripts)
	}
	return nil
}

// debContents are the files of a package for Debian, and its scripts.
func debContents(path string) (files map[string]content, scripts []string, err error) {
	files = map[string]content{}
	err = readTar(exec.Command("dpkg-deb", "--fsys-tarfile", path), func(
		name string, c content, _ io.Reader,
	) error {
		files[name] = c
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	err = readTar(exec.Command("dpkg-deb", "--ctrl-tarfile", path), func(
		name string, c content, r io.Reader,
	) error {
		switch name {
		case "/postinst", "/prerm", "/postrm":
			scripts = append(scripts, name)
		case "/conffiles":
			text, err := io.ReadAll(r)
			for _, file := range strings.Fields(string(text)) {
				c := files[file]
				c.config = true
				files[file] = c
			}
			return err
		}
		return nil
	})
	return files, scripts, err
}

func readTar(c *exec.Cmd, each func(name string, c content, r io.Reader) error) error {
	out, err := c.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", c.Args[0], err)
	}
	return eachOfTar(bytes.NewReader(out), each)
}

func eachOfTar(r io.Reader, each func(name string, c content, r io.Reader) error) error {
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if h.Uid != 0 || h.Gid != 0 {
			return fmt.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(h.Name, "."), "/")
		c := content{mode: h.FileInfo().Mode().Perm(), size: h.Size}
		if err := each(name, c, archive); err != nil {
			return err
		}
	}
}

// rpmContents are the files of a package for RPM, and its scripts.
func rpmContents(path string) (files map[string]content, scripts []string, err error) {
	const format = `[%{FILENAMES} %{FILEMODES} %{FILEFLAGS} %{FILESIZES} ` +
		`%{FILEUSERNAME}\n]`
	out, err := exec.Command("rpm", "-qp", "--qf", format, path).Output()
	if err != nil {
		return nil, nil, fmt.Errorf("rpm: %w", err)
	}
	const regular, config, noReplace = 0o100000, 1, 1 << 4 // rpmfileAttrs
	files = map[string]content{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) != 5 || words[4] != "root" {
			return nil, nil, fmt.Errorf("rpm says %q", line)
		}
		var numbers [3]int64
		for i, word := range words[1:4] {
			if numbers[i], err = strconv.ParseInt(word, 10, 64); err != nil {
				return nil, nil, err
			}
		}
		if numbers[0]&regular == 0 {
			continue
		}
		files[words[0]] = content{
			mode:   fs.FileMode(numbers[0]).Perm(),
			config: numbers[1] == config|noReplace, size: numbers[2],
		}
	}
	text, err := exec.Command("rpm", "-qp", "--scripts", path).Output()
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, " scriptlet (using ") {
			scripts = append(scripts, strings.Fields(line)[0])
		}
	}
	return files, scripts, err
}

// checkArchive compares an archive with what it should contain.
func checkArchive(path, name string) error {
	program := "/" + name
	if strings.HasSuffix(path, ".zip") {
		program += ".exe"
	}
	wanted := map[string]fs.FileMode{
		program: 0o755, "/LICENSE": 0o644, "/README.md": 0o644, "/" + noticesFile: 0o644,
	}
	if s, service := settingsOf[name]; service {
		wanted["/"+name+".service"] = 0o644
		wanted["/"+s.archived] = 0o644 // as an example: no key is in it
	}
	found := 0
	err := eachOfArchive(path, func(file string, c content, _ io.Reader) error {
		found++
		if mode, ok := wanted[file]; !ok || c.mode != mode || c.size == 0 {
			return fmt.Errorf("has %s: %+v, wanted: %v %v", file, c, ok, mode)
		}
		return nil
	})
	if err == nil && found != len(wanted) {
		err = fmt.Errorf("has %d files, wanted are %d: %v", found, len(wanted), wanted)
	}
	return err
}

func eachOfArchive(path string, each func(string, content, io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if strings.HasSuffix(path, ".gz") {
		unzipped, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		return eachOfTar(unzipped, each)
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		return err
	}
	defer z.Close()
	for _, file := range z.File {
		c := content{mode: file.Mode().Perm(), size: int64(file.UncompressedSize64)}
		if err := each("/"+file.Name, c, nil); err != nil {
			return err
		}
	}
	return nil
}

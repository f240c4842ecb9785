// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// vulnerabilities is the database of Go's vulnerabilities. GOVULNDB names another, such as a
	// copy in a directory: file:///srv/vulndb.
	vulnerabilities = "https://vuln.go.dev"
	govulncheck     = "golang.org/x/vuln/cmd/govulncheck"

	// vulnerable is how govulncheck exits that has found something.
	vulnerable = 3
)

// vuln looks for known vulnerabilities in what the modules' code calls. First it plants one, to see
// that it would be found. Where the database cannot be reached, that is an error, or a line that
// says so if REHOME_VULN is optional.
func (w *workshop) vuln() error {
	tool, err := w.tool("security", govulncheck)
	if err != nil {
		return err
	}
	planted, err := w.plantVulnerability()
	if err != nil {
		return err
	}
	look := exec.Command(tool, "-db", planted, "./examples/thermostat")
	log, err := w.logged("planted-vuln.log", look)
	if err := plantedFound(look.ProcessState.ExitCode(), log, err); err != nil {
		return err
	}
	database := cmp.Or(os.Getenv("GOVULNDB"), vulnerabilities)
	if err := reachable(database); err != nil {
		if os.Getenv("REHOME_VULN") != "optional" {
			return err
		}
		say(os.Stdout, "SKIPPED: %v", err)
		return nil
	}
	modules, err := ownModules()
	if err != nil {
		return err
	}
	for _, dir := range modules {
		check := command(tool, "-db", database, "./...")
		check.Dir = dir
		if err := check.Run(); err != nil {
			return fmt.Errorf("module in %s: %w", dir, err)
		}
	}
	say(os.Stdout, "%d modules call nothing that %s knows a vulnerability of", len(modules),
		database)
	return nil
}

// plantedFound says whether a search has found what was planted, by its exit status and its output;
// failed is the error of running it.
func plantedFound(status int, log string, failed error) error {
	switch {
	case status == vulnerable && strings.Contains(log, plantedID):
		return nil
	case failed != nil:
		return fmt.Errorf("a vulnerability that was planted is not found: %w\n%s", failed,
			last(30, log))
	}
	return fmt.Errorf("a vulnerability that was planted is not found\n%s", last(30, log))
}

// reachable asks a database for the smallest of its files.
func reachable(database string) error {
	dir, local := strings.CutPrefix(database, "file://")
	var err error
	if local {
		_, err = os.Stat(filepath.Join(filepath.FromSlash(dir), "index", "db.json"))
	} else {
		client := http.Client{Timeout: 10 * time.Second}
		var response *http.Response
		if response, err = client.Get(database + "/index/db.json"); err == nil {
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				err = errors.New(response.Status)
			}
		}
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("nothing was checked: the vulnerability database cannot be reached; "+
		"GOVULNDB names a copy, such as file:///srv/vulndb: %w", err)
}

// ownModules are the directories of the modules that others may use: all but those of the tools.
func ownModules() (dirs []string, err error) {
	out, err := exec.Command("git", "ls-files", "go.mod", "**/go.mod").Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	for file := range strings.FieldsSeq(string(out)) {
		if dir := filepath.Dir(file); !strings.HasPrefix(file, "internal/tools/") {
			dirs = append(dirs, dir)
		}
	}
	if !slices.Contains(dirs, ".") {
		return nil, fmt.Errorf("no module in the root: %v", dirs)
	}
	return dirs, nil
}

// plantedID is the vulnerability that is planted: in all versions of what waits between tries.
const plantedID = "GO-2000-0001"

// plantVulnerability makes a database with one vulnerability (the format is that of
// https://go.dev/doc/security/vuln/database), and returns its URL.
func (w *workshop) plantVulnerability() (url string, err error) {
	const then = `"2000-01-01T00:00:00Z"`
	const module = `github.com/cenkalti/backoff/v4`
	dir := w.path("planted-vulndb")
	for name, text := range map[string]string{
		"index/db.json": `{"modified": ` + then + `}`,
		"index/modules.json": `[{"path": "` + module + `", "vulns": [{"id": "` + plantedID +
			`", "modified": ` + then + `}]}]`,
		"index/vulns.json": `[{"id": "` + plantedID + `", "modified": ` + then + `}]`,
		"ID/" + plantedID + ".json": `{"schema_version": "1.3.1", "id": "` + plantedID +
			`", "modified": ` + then + `, "published": ` + then + `, "details": "planted",
			"database_specific": {"url": "https://pkg.go.dev/vuln/` + plantedID + `"},
			"affected": [{"package": {"name": "` + module + `", "ecosystem": "Go"},
			"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
			"ecosystem_specific": {"imports": [{"path": "` + module + `"}]}}]}`,
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return "file://" + filepath.ToSlash(dir), nil
}

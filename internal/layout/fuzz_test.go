// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// decoding is a row of docs/fuzzing.md: what reads foreign bytes, and the target that feeds it any.
type decoding struct {
	pkg, by, target string
	device          bool // it stands under what goes into devices
}

// reading are the decoders of the standard library that packages call.
var reading = regexp.MustCompile(
	`\b(json\.(Unmarshal|NewDecoder)|pem\.Decode|asn1\.Unmarshal|http\.(ReadResponse|ParseTime)|` +
		`x509\.Parse\w+|tls\.X509KeyPair|binary\.\w+Endian\.Uint\d+)\(`,
)

// fromItself are packages whose program reads what it has written itself, as it can tell.
var fromItself = []string{"examples/internal/live"}

// deviceModules are those for devices that have a go.mod of their own, as internal/ci has them.
var deviceModules = []string{
	"provisioning/tpm", "hubconn/outbox", "examples/ownclient", "examples/pkcs11",
}

// The page lists every target there is, each with a function of its package that the target's file
// calls; and those of devices are the ones that the program for devices is made of.
func TestThePageOfForeignBytesHasEachTargetAndItsDecoder(t *testing.T) {
	inDevices := map[string]bool{}
	for _, p := range goList(t, "-deps", "./examples/thermostat") {
		if name, ok := p.local(); ok {
			inDevices[name] = true
		}
	}
	for _, dir := range goDirectories(t) {
		for _, module := range deviceModules {
			if dir == module || strings.HasPrefix(dir, module+"/") {
				inDevices[dir] = true
			}
		}
	}
	listed, read := map[string]bool{}, map[string]bool{}
	for _, d := range decodings(t) {
		read[d.pkg] = true
		name := d.pkg + "." + d.target
		assert.False(t, listed[name], "%s stands there twice", name)
		listed[name] = true
		assert.Equal(t, inDevices[d.pkg], d.device, "%s stands under the wrong heading", name)
		file := fileWith(t, d.pkg, `(?m)^func `+d.target+`\(f \*testing\.F\)`, true)
		if !assert.NotEmpty(t, file, "%s does not exist", name) {
			continue
		}
		calls := regexp.MustCompile(`\b` + d.by + `\(`).MatchString(file)
		assert.True(t, calls, "%s does not call what it is for", name)
		decoder := fileWith(t, d.pkg, `(?m)^func (\([^)]+\) )?`+d.by+`\(`, false)
		assert.NotEmpty(t, decoder, "%s has no function %s", d.pkg, d.by)
	}
	declared := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(f \*testing\.F\)`)
	for _, pkg := range goDirectories(t) {
		if inDevices[pkg] && reading.MatchString(strings.Join(sources(t, pkg, false), "\n")) &&
			!slices.Contains(fromItself, pkg) {
			assert.True(t, read[pkg], "%s decodes, and docs/fuzzing.md does not list it", pkg)
		}
		for _, source := range sources(t, pkg, true) {
			for _, match := range declared.FindAllStringSubmatch(source, -1) {
				name := pkg + "." + match[1]
				assert.True(t, listed[name], "docs/fuzzing.md does not list %s", name)
			}
		}
	}
}

// goDirectories are those with Go files, also in nested modules.
func goDirectories(t *testing.T) (dirs []string) {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != root && (entry.Name() == "testdata" ||
			entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".")) {
			return fs.SkipDir
		}
		if filepath.Ext(path) == ".go" {
			dir, err := filepath.Rel(root, filepath.Dir(path))
			dirs = append(dirs, filepath.ToSlash(dir))
			return err
		}
		return nil
	})
	require.NoError(t, err)
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	for _, dir := range deviceModules {
		require.Contains(t, dirs, dir)
	}
	return dirs
}

// decodings reads the page.
func decodings(t *testing.T) (all []decoding) {
	text, err := os.ReadFile(filepath.Join(root, "docs/fuzzing.md"))
	require.NoError(t, err)
	row := regexp.MustCompile("^\\| .+ \\| `([^`]+)` \\| `([^`]+)` \\| `([^`]+)` \\|$")
	devices, simulators, found := strings.Cut(string(text), "## In the simulators")
	require.True(t, found)
	for part, device := range map[string]bool{devices: true, simulators: false} {
		for line := range strings.Lines(part) {
			line = strings.TrimSpace(line)
			match := row.FindStringSubmatch(line)
			if match == nil {
				ok := !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") ||
					strings.HasPrefix(line, "| read is |")
				assert.True(t, ok, "no row: %s", line)
				continue
			}
			all = append(all, decoding{match[1], match[2], match[3], device})
		}
	}
	require.Greater(t, len(all), 50)
	return all
}

// fileWith is the source, or the test, of a package that has what matches.
func fileWith(t *testing.T, pkg, pattern string, tests bool) string {
	matches := regexp.MustCompile(pattern)
	for _, source := range sources(t, pkg, tests) {
		if matches.MatchString(source) {
			return source
		}
	}
	return ""
}

// sources are the files of a package, its tests or the others.
func sources(t *testing.T, pkg string, tests bool) (all []string) {
	files, err := filepath.Glob(filepath.Join(root, pkg, "*.go"))
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") != tests {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all = append(all, string(text))
	}
	return all
}

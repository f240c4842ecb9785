// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatGosecFindsIsArguedOrAnError(t *testing.T) {
	arguments, err := readArguments("# why\n\nG104 a/b.go 2: it never\n\tfails\nG304 c/: named\n")
	require.NoError(t, err)
	assert.Equal(t, []argument{{"G104", "a/b.go", 2, "it never fails"}, {"G304", "c/", 0, "named"}},
		arguments)
	right := []finding{
		{"G104", "a/b.go", "1", "x"}, {"G104", "a/b.go", "9-10", "x"},
		{"G304", "c/d/e.go", "1", "x"},
	}
	require.NoError(t, compare(arguments, right))
	for want, found := range map[string][]finding{
		"c/d.go:7: G104: x":              append(right[:3:3], finding{"G104", "c/d.go", "7", "x"}),
		"a/b.go has 3 findings of G104":  append(right[:3:3], right[0]),
		"a/b.go has 1 findings of G104":  right[1:],
		"nothing is found any more of G": right[:2],
	} {
		assert.ErrorContains(t, compare(arguments, found), want)
	}
	for _, wrong := range []string{
		"G104 a/b.go: no number\n", "G104 a/b.go 2:\n", "G104 a/b.go 2\n", "G104: all\n",
		"\tgoes on with nothing\n", "104 a/: rule\n",
	} {
		_, err := readArguments(wrong)
		assert.Error(t, err, wrong)
	}
}

func TestEachArgumentIsAboutAFileThatThereIs(t *testing.T) {
	text, err := os.ReadFile("../../" + argued)
	require.NoError(t, err)
	arguments, err := readArguments(string(text))
	require.NoError(t, err)
	require.NotEmpty(t, arguments)
	for _, a := range arguments {
		_, err := os.Stat(filepath.Join("../..", a.place))
		assert.NoError(t, err)
		assert.Greater(t, len(strings.Fields(a.reason)), 2, "%s in %s", a.rule, a.place)
	}
	// A directory's argument covers what will be found there: not in what goes into devices.
	deps, err := exec.Command("go", "list", "-deps", deviceProgram).Output()
	require.NoError(t, err)
	inside := 0
	for pkg := range strings.FieldsSeq(string(deps)) {
		dir, ok := strings.CutPrefix(pkg, rootModule+"/")
		if !ok {
			continue
		}
		inside++
		for _, a := range arguments {
			assert.False(t, a.count == 0 && strings.HasPrefix(dir+"/", a.place),
				"%s in all of %s covers %s, which is in devices", a.rule, a.place, dir)
		}
	}
	assert.Greater(t, inside, 15)
}

func TestAReportOfGosecIsReadWithItsErrors(t *testing.T) {
	here, err := os.Getwd()
	require.NoError(t, err)
	found, files, err := findingsOf([]byte(`{"Golang errors": {}, "Stats": {"files": 5}, "Issues": [
		{"rule_id": "G104", "details": "d", "file": "` + filepath.ToSlash(here) +
		`/a/b.go", "line": "3-4"}]}`))
	require.NoError(t, err)
	assert.Equal(t, 5, files)
	assert.Equal(t, []finding{{"G104", "a/b.go", "3-4", "d"}}, found)
	_, _, err = findingsOf([]byte(`{"Golang errors": {"a.go": [{"error": "no module"}]}}`))
	assert.ErrorContains(t, err, "no module")
	_, _, err = findingsOf(nil)
	assert.Error(t, err)
}

func TestAPlantedVulnerabilityThatIsNotFoundIsToldWithoutGibberish(t *testing.T) {
	failed := errors.New("exit status 3")
	require.NoError(t, plantedFound(vulnerable, "… "+plantedID+" …", failed))
	for _, err := range []error{
		plantedFound(0, "No vulnerabilities found.\n", nil), // as if there were nothing
		plantedFound(vulnerable, "another", failed), plantedFound(1, plantedID, failed),
	} {
		require.ErrorContains(t, err, "a vulnerability that was planted is not found")
		assert.NotContains(t, err.Error(), "%!")
	}
}

func TestADatabaseThatCannotBeReachedIsSaidInOneLine(t *testing.T) {
	w := &workshop{out: t.TempDir()}
	planted, err := w.plantVulnerability()
	require.NoError(t, err)
	require.NoError(t, reachable(planted))
	for _, there := range []string{"http://127.0.0.1:1", "file://" + t.TempDir()} {
		err := reachable(there)
		require.ErrorContains(t, err, "nothing was checked")
		assert.NotContains(t, err.Error(), "\n")
	}
	modules, err := ownModules()
	require.Error(t, err, "this is not the root: %v", modules)
}

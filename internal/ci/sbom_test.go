// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestABillOfMaterialsNamesWhatIsLinkedAndNothingElse(t *testing.T) {
	modules := []linkedModule{{Path: "a.example/a", Version: "v1.0.0"}, {Path: "b", Version: "v2"}}
	right := []string{`"std","version":"1.26"`, `"a.example/a","version":"v1.0.0"`,
		`"b","version":"v2"`}
	check := func(components []string) error {
		path := filepath.Join(t.TempDir(), "a.cdx.json")
		text := `{"bomFormat":"CycloneDX","components":[{"name":` +
			strings.Join(components, `},{"name":`) + `}]}`
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return checkBill(path, modules)
	}
	require.NoError(t, check(right))
	for what, wrong := range map[string]string{
		`"b","version":"v3"`:        "names b v3, which is not linked",
		`"testify","version":"v1"`:  "names testify v1, which is not linked",
		`"std","version":"go1.26"`:  "names std, which is not linked, or names it twice",
		`"b","version":"v2","x":{}`: "names b v2, which is not linked, or names it twice",
	} {
		assert.ErrorContains(t, check(append(slices.Clone(right), what)), wrong)
	}
	for i, missing := range []string{"std", "a.example/a v1.0.0", "b v2"} {
		assert.ErrorContains(t, check(slices.Delete(slices.Clone(right), i, i+1)),
			"does not name what is linked: "+missing)
	}
	path := filepath.Join(t.TempDir(), "a.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"components":[]}`), 0o600))
	assert.ErrorContains(t, checkBill(path, nil), "no bill of materials")
}

// What a program links depends on the system, and on the program.
func TestModulesAreThoseOfTheProgramAndThePlatform(t *testing.T) {
	t.Chdir("../..")
	has := func(platform, program, module string) bool {
		modules, err := linked(platformEnvironment(platform), program)
		require.NoError(t, err)
		return slices.ContainsFunc(modules, func(m linkedModule) bool { return m.Path == module })
	}
	for _, platform := range []string{"linux_armv6", "windows_amd64"} {
		for _, program := range released {
			assert.True(t, has(platform, program, "github.com/eclipse/paho.mqtt.golang"),
				"%s for %s", program, platform)
		}
	}
	assert.Equal(t, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=mipsle"},
		platformEnvironment("linux_mipsle_softfloat"))
	assert.Equal(t, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm"},
		platformEnvironment("linux_armv7"))
}

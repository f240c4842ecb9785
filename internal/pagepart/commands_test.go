// SPDX-License-Identifier: Apache-2.0

package pagepart

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCommandsAreThoseOfTheStepsOfASection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(file, []byte("# Title\n\n```sh\nno\n```\n\n## Try it\n\n"+
		"1. First:\n\n   ```sh\n   a\n   b\n   ```\n\n2. Then:\n\n   ```sh\n   c\n   ```\n\n"+
		"```sh\nnot a step's\n```\n\n## More\n\n   ```sh\n   d\n   ```\n"), 0o600))
	assert.Equal(t, []string{"   a\n   b\n", "   c\n"}, Commands(t, file, "Try it"))

	for _, section := range []string{"More", "Other", "Try"} {
		f := &failures{TB: t}
		assert.PanicsWithValue(t, gone{}, func() { Commands(f, file, section) }, section)
		assert.Len(t, f.fatal, 1)
	}
}

// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"os"
	"testing"
)

const runtimeDirForTests = "CACHE_TEST_RUNTIME_DIR"

// TestMain keeps the tests away from the runtime directory of the machine.
func TestMain(m *testing.M) {
	runtimeDir = os.Getenv(runtimeDirForTests)
	os.Exit(m.Run())
}

// SetRuntimeDir makes dir the runtime directory until t ends.
func SetRuntimeDir(t *testing.T, dir string) { replaceWith(t, &runtimeDir, dir) }

func replaceWith[T any](t *testing.T, variable *T, value T) {
	before := *variable
	*variable = value
	t.Cleanup(func() { *variable = before })
}

// SPDX-License-Identifier: Apache-2.0

package atomicfile_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/rehome-iot/rehome/internal/atomicfile"
)

func ExampleWrite() {
	dir, err := os.MkdirTemp("", "atomicfile")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	path := filepath.Join(dir, "assignment")
	for _, hub := range []string{"hub-a", "hub-b"} {
		if err := atomicfile.Write(path, []byte(hub), 0o600); err != nil {
			fmt.Println(err)
			return
		}
	}
	data, err := os.ReadFile(path)
	fmt.Println(string(data), err)
	// Output: hub-b <nil>
}

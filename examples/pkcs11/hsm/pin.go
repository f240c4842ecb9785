// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// maxPIN is more than tokens take: SoftHSM has 255.
const maxPIN = 1 << 10

// PINFile returns the PIN that stands in a file, which nobody but its owner and group may read. It
// is read at each login, so it may be changed; a line break at its end does not count.
func PINFile(path string) func() (string, error) {
	return func() (string, error) {
		info, err := os.Stat(path)
		if err != nil {
			return "", fmt.Errorf("PIN file: %w", err)
		}
		if runtime.GOOS != "windows" && info.Mode()&0o007 != 0 {
			return "", fmt.Errorf("PIN file %s may be read by everybody: chmod 600", path)
		}
		if info.Size() > maxPIN {
			return "", fmt.Errorf("PIN file %s has %d bytes: it is something else", path,
				info.Size())
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("PIN file: %w", err)
		}
		pin := strings.TrimRight(string(text), "\r\n")
		if pin == "" {
			return "", fmt.Errorf("PIN file %s is empty", path)
		}
		return pin, nil
	}
}

// PINVariable returns the PIN that stands in an environment variable.
func PINVariable(name string) func() (string, error) {
	return func() (string, error) {
		if pin := os.Getenv(name); pin != "" {
			return pin, nil
		}
		return "", fmt.Errorf("the variable %s with the PIN is not set", name)
	}
}

var errNoPIN = errors.New("there is no PIN: set PIN, such as to PINFile or PINVariable")

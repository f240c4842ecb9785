// SPDX-License-Identifier: Apache-2.0

package programtest

import (
	"bytes"
	"sync"
)

// Output is what a program, or a device in the test, says: it may be read while it is written. Its
// zero value is empty.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String returns all that has been written.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

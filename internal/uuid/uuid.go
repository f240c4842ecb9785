// SPDX-License-Identifier: Apache-2.0

package uuid

import (
	"crypto/rand"
	"fmt"
)

// New makes a random UUID, of version 4 (RFC 9562 §5.4).
func New() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

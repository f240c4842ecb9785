package hubtest

import (
	"crypto/rand"
	"encoding/hex"
)

// newLockToken returns a UUID, as the service's lock tokens are.
func newLockToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

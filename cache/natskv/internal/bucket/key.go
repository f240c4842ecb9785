// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	// longestKey leaves room for prefixes within the 4 KiB that a line of the protocol may have,
	// and is still fit for people to read.
	longestKey = 200
	// hashMark stands in no key that is not hashed: two digits follow every other equals sign.
	hashMark = "=-"
	// emptyKey stands for the empty string.
	emptyKey = "="
)

// EncodeKey makes a token of a subject of any string; different strings have different ones.
// Letters, digits, hyphen and underscore stand for themselves, every other byte is an equals sign
// and two hexadecimal digits. What would be over 200 bytes is cut, and ends in a hash.
func EncodeKey(s string) string {
	if s == "" {
		return emptyKey
	}
	var key strings.Builder
	for i := range len(s) {
		if c := s[i]; isPlain(c) {
			key.WriteByte(c)
		} else {
			key.WriteByte('=')
			key.WriteString(hex.EncodeToString([]byte{c}))
		}
		if key.Len() > longestKey {
			sum := sha256.Sum256([]byte(s))
			hash := hex.EncodeToString(sum[:])
			return key.String()[:longestKey-len(hashMark)-len(hash)] + hashMark + hash
		}
	}
	return key.String()
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '_' || c == '-'
}

// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	// longestName leaves room for waitsMark and atomicfile's temporary name within
	// the 143 bytes that an encrypted file system allows.
	longestName = 100
	// waitsMark follows the name of an entry in the name of its waits. No entry's
	// own name has an equals sign: it is always escaped.
	waitsMark = "=waits"
	// hashMark stands in no name that is not hashed: it is always escaped.
	hashMark = "~"
	// emptyName stands for the empty key: elsewhere two digits follow a percent.
	emptyName = "%"
)

// fileName maps a key to the name of its file. Different keys have different
// names, on file systems that fold letter case too.
//
// Lower-case letters, digits, dot, underscore and hyphen stand for themselves,
// every other byte is a percent sign and two lower-case hexadecimal digits. So is
// a dot at either end (hidden files, "..", and Windows drops a trailing one) and
// the first letter of a name that Windows reserves for a device. A name that would
// be over 100 bytes is cut, and ends in a tilde and the key's SHA-256.
func fileName(key string) string {
	if key == "" {
		return emptyName
	}
	var name strings.Builder
	reserved := isDeviceName(key)
	for i := range len(key) {
		c := key[i]
		edge := i == 0 || i == len(key)-1
		switch {
		case i == 0 && reserved, c == '.' && edge, !isPlain(c):
			name.WriteByte('%')
			name.WriteString(hex.EncodeToString([]byte{c}))
		default:
			name.WriteByte(c)
		}
	}
	if name.Len() <= longestName {
		return name.String()
	}
	sum := sha256.Sum256([]byte(key))
	hash := hex.EncodeToString(sum[:])
	return name.String()[:longestName-len(hashMark)-len(hash)] + hashMark + hash
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// isDeviceName reports whether Windows would open a device instead of a file,
// whatever the extension. Capitals are escaped anyway.
func isDeviceName(key string) bool {
	stem, _, _ := strings.Cut(key, ".")
	switch stem {
	case "con", "prn", "aux", "nul":
		return true
	}
	port, ok := strings.CutPrefix(stem, "com")
	if !ok {
		port, ok = strings.CutPrefix(stem, "lpt")
	}
	return ok && len(port) == 1 && '0' <= port[0] && port[0] <= '9'
}

// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"

	"github.com/rehome-iot/rehome/internal/uuid"
)

// Registration IDs are up to 128 letters, digits, '-', '.', '_' and ':', and end in a letter, a
// digit or a dash (Azure docs: "IoT Hub Device Provisioning Service terminology"). Group IDs follow
// the same rule.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9-]([A-Za-z0-9._:-]{0,126}[A-Za-z0-9-])?$`)

func validID(id string) bool { return idPattern.MatchString(id) }

// newOperationID has the form seen on the wire: a digit, 16 hex digits and a GUID. Devices must
// take it as opaque.
func newOperationID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return "5." + hex.EncodeToString(b[:]) + "." + uuid.New()
}

// newETag makes an entity tag of an enrollment in the form seen on the wire: a quoted version.
func newETag() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf(`"%x-0000-0300-0000-%x0000"`, b[:4], b[4:])
}

// newRecordETag makes an entity tag of a registration record in the form seen on the wire: base64
// of a quoted version.
func newRecordETag() string { return base64.StdEncoding.EncodeToString([]byte(newETag())) }

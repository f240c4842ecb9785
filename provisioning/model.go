// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"fmt"
	"strings"

	"github.com/rehome-iot/rehome/internal/oneline"
)

// payload is what goes to DPS with a registration (Azure docs: "IoT Plug and Play: connect and
// provision with DPS").
func (d *Device) payload() any {
	if d.Payload == nil && d.ModelID != "" {
		return struct {
			ModelID string `json:"modelId"`
		}{d.ModelID}
	}
	return d.Payload
}

// modelIDMax is what DTDL allows the identifier of an interface.
const modelIDMax = 128

// checkModelID wants a digital twin model identifier with a version, as DTDL defines it:
// dtmi:<path>;<version>. Version 3 of the language allows a minor version behind a dot.
func checkModelID(id string) error {
	if id == "" {
		return nil
	}
	path, version, versioned := strings.Cut(id, ";")
	path, scheme := strings.CutPrefix(path, "dtmi:")
	ok := scheme && versioned && len(id) <= modelIDMax
	for segment := range strings.SplitSeq(path, ":") {
		ok = ok && isModelSegment(segment)
	}
	major, minor, split := strings.Cut(version, ".")
	if ok = ok && isModelVersion(major, 9) &&
		(!split || minor == "0" || isModelVersion(minor, 6)); !ok {
		return fmt.Errorf("model id %q is not one: write dtmi:<path>;<version>, "+
			"such as dtmi:com:example:thermostat;1", oneline.Of(id, modelIDMax))
	}
	return nil
}

const (
	digits  = "0123456789"
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// isModelSegment: letters, digits and underscores; a letter first, no underscore last.
func isModelSegment(s string) bool {
	return s != "" && strings.Trim(s, letters+digits+"_") == "" &&
		strings.ContainsRune(letters, rune(s[0])) && s[len(s)-1] != '_'
}

// isModelVersion: a number without leading zeros.
func isModelVersion(s string, most int) bool {
	return s != "" && len(s) <= most && strings.Trim(s, digits) == "" && s[0] != '0'
}

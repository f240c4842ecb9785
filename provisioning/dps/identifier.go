// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/sas"
)

// The service's limits on identifiers, and ours on those that it makes.
const (
	maxRegistrationID = 128 // Azure docs: "DPS terminology", registration ID
	maxOperationID    = 512
	maxDeviceID       = 128
)

// checkRegistrationID applies the service's rule for registration IDs: at most 128 of letters,
// digits, '-', '.', '_' and ':', the last one a letter, a digit or '-'. Azure docs: "DPS
// terminology", registration ID.
//
// Letter case is left as it is, as every official SDK does. The service compares IDs without regard
// to case, but whether the case counts when it derives a group's device keys is not documented:
// lower case is the safe choice.
func checkRegistrationID(field, id string) error {
	if id == "" {
		return fmt.Errorf(
			"%s is empty: set it to the registration id the device is enrolled with", field,
		)
	}
	if len(id) > maxRegistrationID {
		return fmt.Errorf(
			"%s has %d characters: at most %d are allowed", field, len(id), maxRegistrationID,
		)
	}
	if sas.LooksLikeKey(id) {
		return fmt.Errorf(
			"%s looks like a key: set it to the registration id of the enrollment", field,
		)
	}
	for i := range len(id) {
		if c := id[i]; !isAlphanumeric(c) && c != '-' && c != '.' && c != '_' && c != ':' {
			return fmt.Errorf("%s %q has an illegal character at position %d: use letters, "+
				"digits, '-', '.', '_' and ':'", field, id, i+1)
		}
	}
	if last := id[len(id)-1]; !isAlphanumeric(last) && last != '-' {
		return fmt.Errorf(
			"%s %q ends in %q: the last character must be a letter, a digit or '-'", field, id,
			last,
		)
	}
	return nil
}

// checkOperationID: an operation ID is opaque, but it must fit into a path and a topic.
func checkOperationID(id string) error {
	if id == "" {
		return unreadable("the answer has no field operationId")
	}
	if len(id) > maxOperationID ||
		strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return unreadable("the answer's operationId %q is not one", oneline.Of(id, 64))
	}
	return nil
}

// isDeviceID allows what IoT Hub allows and a little more: nothing that could end a topic level or
// a line.
func isDeviceID(id string) bool {
	return id != "" && len(id) <= maxDeviceID &&
		!strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' })
}

// isHostName accepts DNS names of letters, digits and hyphens (RFC 1123 §2.1). A last label of
// digits alone would be an IP address.
func isHostName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	digits := true
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		digits = true
		for i := range len(label) {
			if c := label[i]; !isAlphanumeric(c) && c != '-' {
				return false
			}
			digits = digits && '0' <= label[i] && label[i] <= '9'
		}
	}
	return !digits
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// escape makes one path segment or query value of s. It escapes more than a path needs (':' above
// all, which registration IDs may hold), so that the same text fits everywhere.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func splitEndpoint(endpoint string) (host, port string) {
	if host, port, err := net.SplitHostPort(endpoint); err == nil {
		if port == "" {
			port = "0" // "host:" names no port at all
		}
		return host, port
	}
	return endpoint, ""
}

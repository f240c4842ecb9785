// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// thermostat is the command line of a device that connects to this simulator, by the first
// enrollment with a symmetric key.
func (s *simulator) thermostat() (string, bool) {
	id, flag, key, ok := s.someKey("thermostat-1")
	if !ok {
		return "", false
	}
	args := []string{
		"go", "run", "./examples/thermostat", "-id-scope", s.dps.IDScope(), "-registration-id", id,
		flag, key, "-ca", s.ca,
	}
	for _, listener := range [][2]string{
		{"443", s.network.HTTPSAddr()}, {"8883", s.network.MQTTAddr()},
	} {
		host, port := reachable(listener[1])
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		args = append(args, "-connect-to", fmt.Sprintf(":%s:%s:%s", listener[0], host, port))
	}
	args = append(args, "-interval", "5s", "-log-format", "text")
	for i, a := range args {
		args[i] = quoted(a)
	}
	return strings.Join(args, " "), true
}

// someKey finds a device that may register, and its key or its group's. A device of a group has the
// name that is given.
func (s *simulator) someKey(member string) (id, flag, key string, ok bool) {
	for _, e := range s.config.Enrollments {
		e, ok := s.dps.Enrollment(e.RegistrationID)
		if ok && e.ProvisioningStatus == dpstest.Enabled && e.Attestation.SymmetricKey != nil {
			return e.RegistrationID, "-key", e.Attestation.SymmetricKey.PrimaryKey, true
		}
	}
	for _, g := range s.config.EnrollmentGroups {
		g, ok := s.dps.Group(g.EnrollmentGroupID)
		if ok && g.ProvisioningStatus == dpstest.Enabled && g.Attestation.SymmetricKey != nil {
			return member, "-group-key", g.Attestation.SymmetricKey.PrimaryKey, true
		}
	}
	return "", "", "", false
}

// quoted writes an argument so that a shell reads it as one word.
func quoted(arg string) string {
	plain := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
			strings.ContainsRune("-_./:=+,@%", r))
	}
	if arg != "" && !strings.ContainsFunc(arg, plain) {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rehome-iot/rehome/hubconn/simdial"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// ownProgram is the registration ID of a program of the reader's own, where any will do.
const ownProgram = "sensor-042"

// exports are the lines of a shell that lead the program of the project's README to this simulator:
// where it listens and, where an enrollment has a symmetric key, who the device is.
func (s *simulator) exports() (string, error) {
	target, err := json.Marshal(map[string]string{
		"https": s.network.HTTPSAddr(), "mqtt": s.network.MQTTAddr(), "ca": s.ca,
	})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, v := range [][2]string{
		{simdial.Variable, string(target)}, {"ID_SCOPE", s.dps.IDScope()},
	} {
		fmt.Fprintf(&b, "export %s=%s\n", v[0], quoted(v[1]))
	}
	id, flag, key, ok := s.someKey(ownProgram)
	if !ok {
		return b.String(), nil
	}
	if flag == "-group-key" { // a device has its own
		if key, err = dps.DeriveDeviceKey(key, id); err != nil {
			return "", err
		}
	}
	fmt.Fprintf(&b, "export REGISTRATION_ID=%s\nexport DEVICE_KEY=%s\n", quoted(id), quoted(key))
	return b.String(), nil
}

// showExports prints the lines for people, and writes them to the file of -env-file.
func (s *simulator) showExports(w io.Writer) error {
	lines, err := s.exports()
	if err != nil {
		return err
	}
	fmt.Fprintf(
		w, "A program of your own connects to it with this in its environment, see %s:\n\n  %s\n\n",
		"docs/first-hour.md", strings.ReplaceAll(strings.TrimSpace(lines), "\n", "\n  "),
	)
	if s.flags.envFile == "" {
		return nil
	}
	if err := os.WriteFile(s.flags.envFile, []byte(lines), 0o600); err != nil {
		return fmt.Errorf("-env-file %w", err)
	}
	return nil
}

// emptyExports empties the file of -env-file, if there is to be one: whoever waits for something in
// it waits for this simulator. So a file that cannot be written is found at once, too.
func emptyExports(file string) error {
	if file == "" {
		return nil
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return usageError{fmt.Errorf("-env-file %w: name a file that can be written", err)}
	}
	// For this user alone, an older file too: there is a key in it, although one of a simulation.
	return os.Chmod(file, 0o600)
}

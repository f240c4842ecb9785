// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// readLoaded reads the secrets that the service manager has put into files for this process alone,
// in the directory that CREDENTIALS_DIRECTORY names: "thermostat.key" for the flag -key. See
// LoadCredential in systemd.exec(5); a container's secrets do as well. What flags or variables say
// goes before. An empty file is none, as an empty variable.
func (s *Settings) readLoaded(environ []string) error {
	dir := ""
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, "CREDENTIALS_DIRECTORY="); ok {
			dir = value
		}
	}
	if dir == "" {
		return nil
	}
	program, _, _ := strings.Cut(s.program, " ")
	for _, o := range s.options {
		if _, made := s.given[o.Name]; made || !o.Secret {
			continue
		}
		name := program + "." + o.Name
		data, err := os.ReadFile(filepath.Join(dir, name))
		switch text := strings.TrimSpace(string(data)); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("the credential %s cannot be read: %w: let this user read it, or "+
				"take it away", name, err)
		case text != "":
			s.given[o.Name] = given{values: []string{text}, origin: "the credential " + name}
		}
	}
	return nil
}

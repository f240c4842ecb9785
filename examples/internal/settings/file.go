// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
)

// FileFlag is the flag of UseFile.
const FileFlag = "config"

// UseFile adds the flag -config, which names a file of settings. Each line is a flag's name without
// its hyphen, an equals sign and its value; blank lines and those that begin with # are none. Flags
// and the environment go before. A name that is no flag's, or stands there twice, is an error that
// names the line. A line without a value is none, as a variable.
func (s *Settings) UseFile(usage string) {
	var path string
	s.Add(Option{Name: FileFlag, Value: "FILE", Usage: usage, Assign: Text(&path)})
	s.readFile = func() error {
		g, ok := s.given[FileFlag]
		if !ok {
			return nil
		}
		path := g.values[len(g.values)-1]
		data, err := os.ReadFile(path)
		if err != nil {
			return s.Wrong(FileFlag, fmt.Errorf("%w: name a file that this user can read", err))
		}
		return s.takeFile(path, data)
	}
}

// takeFile takes what a file says for what nobody has set.
func (s *Settings) takeFile(path string, data []byte) error {
	first := map[string]int{}
	number := 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		wrong := func(format string, args ...any) error {
			return fmt.Errorf("%s:%d: %w", path, number, fmt.Errorf(format, args...))
		}
		name, value, ok := strings.Cut(text, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		i := slices.IndexFunc(s.options, func(o Option) bool { return o.Name == name })
		switch {
		case !ok:
			return wrong("there is no equals sign: write a setting as name = value")
		case i < 0 && plain(name):
			return wrong("%s is not a setting: see %s", name, s.help())
		case i < 0:
			return wrong("there is a setting that does not exist: see %s", s.help())
		case s.options[i].FlagOnly || name == FileFlag:
			return wrong("%s is a flag alone: take it out of the file", name)
		case first[name] > 0 && !s.options[i].Many:
			return wrong("%s stands in line %d already: keep one", name, first[name])
		}
		repeated := first[name] > 0
		if !repeated {
			first[name] = number
		}
		origin := fmt.Sprintf("%s:%d: %s", path, number, name)
		switch g, made := s.given[name]; {
		case value == "", made && !repeated:
		case made && !strings.HasPrefix(g.origin, path+":"): // a flag or a variable
		case made:
			g.values = append(g.values, value)
			s.given[name] = g
		default:
			s.given[name] = given{values: []string{value}, origin: origin}
		}
	}
	return nil
}

// plain says that a name cannot be a key.
func plain(name string) bool {
	return name != "" && len(name) <= 24 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") == ""
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A wrong use is one line that names what is wrong and the fix, with exit code 2.
func TestAWrongUseIsOneClearLine(t *testing.T) {
	t.Parallel()
	board := []string{
		"-id-scope", "0ne00000001", "-registration-id", "board", "-key", canaryKey,
	}
	as := func(name string, more ...string) []string {
		return append(append([]string{name}, board...), more...)
	}
	for name, row := range map[string]struct {
		args  []string
		env   []string
		stdin string
		says  []string
	}{
		"no subcommand":           {says: []string{"subcommand", "why", "-help"}},
		"no such subcommand":      {args: []string{"wyh"}, says: []string{"no such subcommand", "why"}},
		"a key as subcommand":     {args: []string{canaryKey}, says: []string{"no such subcommand"}},
		"flags first":             {args: append(board, "why"), says: []string{"comes first"}},
		"flag of another":         {args: as("why", "-body", "x"), says: []string{"-body", "does not exist", "rehome why -help"}},
		"glued key":               {args: as("why", "-key"+canaryKey), says: []string{"-key=BASE64"}},
		"stray argument":          {args: as("send", "hello"), says: []string{"argument", "rehome send -help"}},
		"unknown variable":        {args: as("why"), env: []string{"REHOME_IDSCOPE=x"}, says: []string{"REHOME_IDSCOPE", "not a setting"}},
		"variable of a flag only": {args: as("send"), env: []string{"REHOME_BODY=x"}, says: []string{"REHOME_BODY", "not a setting"}},
		"no program":              {args: as("why", "-env-of", canaryKey), says: []string{"-env-of", "lower-case"}},
		"wrong format":            {args: as("why", "-format", "xml"), says: []string{"-format", "json or text"}},
		"no scope":                {args: []string{"lookup"}, says: []string{"-id-scope", "REHOME_ID_SCOPE"}},
		"no credential":           {args: as("lookup")[:5], says: []string{"no credential", "REHOME_KEY"}},
		"bad key":                 {args: append(as("lookup")[:5], "-key", "short"), says: []string{"-key"}},
		"bad property":            {args: as("send", "-property", "room"), says: []string{"-property", "NAME=VALUE"}},
		"bad protocol":            {args: as("send", "-over", "amqp"), says: []string{"-over", "mqtt or https"}},
		"bad answer":              {args: as("watch", "-answer", "404"), says: []string{"-answer", "ok or echo"}},
		"short timeout":           {args: as("lookup", "-timeout", "1ms"), says: []string{"-timeout", "1s or more"}},
		"module over https":       {args: as("send", "-over", "https", "-module", "door", "-module-key", canaryKey), says: []string{"-over https", "-module"}},
		"register with -csr":      {args: as("register", "-csr"), says: []string{"certificate", "send", "-csr"}},
		"why -register -csr":      {args: as("why", "-register", "-csr"), says: []string{"certificate", "send", "-csr"}},
		"no simulator's file":     {args: as("why"), env: []string{"REHOME_SIMULATOR=/missing"}, says: []string{"REHOME_SIMULATOR", "/missing", "name a file"}},
		"no ready line":           {args: as("why", "-simulator", "{}"), says: []string{"-simulator", "copy what the simulator prints"}},
		"a key as simulator":      {args: as("why", "-simulator", canaryKey), says: []string{"-simulator", "looks like a key"}},
		"status without a store":  {args: as("status"), says: []string{"-store", "REHOME_STORE"}},
		"derive without an ID":    {args: []string{"derive-key"}, stdin: canaryGroupKey, says: []string{"-registration-id is missing"}},
		"derive without a key":    {args: []string{"derive-key", "-registration-id", "b"}, says: []string{"standard input is empty"}},
		"derive from no key":      {args: []string{"derive-key", "-registration-id", "b"}, stdin: "no key", says: []string{"standard input:", "base64"}},
		"derive from no file":     {args: []string{"derive-key", "-registration-id", "b", "-group-key-file", "/missing"}, says: []string{"-group-key-file", "name a file"}},
		"derive from two":         {args: []string{"derive-key", "-registration-id", "b", "-group-key-file", "x", "-group-key", canaryGroupKey}, says: []string{"both given"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, row.stdin, row.env, row.args...)
			assert.Equal(t, 2, r.code)
			assert.Empty(t, r.stdout)
			assert.Regexp(t, `^rehome( [a-z-]+)?: [^\n]+\n$`, r.stderr)
			for _, says := range row.says {
				assert.Contains(t, r.stderr, says)
			}
		})
	}
}

func TestVariablesOfTheProjectsTestsAreNoSettings(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../../.ci/run")
	require.NoError(t, err)
	set := regexp.MustCompile(`\b(REHOME_\w+)=`).FindAllStringSubmatch(string(script), -1)
	require.GreaterOrEqual(t, len(set), 4)
	for _, v := range set {
		r := start(t, "", []string{v[1] + "=all"}, "lookup")
		assert.Contains(t, r.stderr, "-id-scope is missing", v[1])
	}
}

func TestTheVariablesOfAnotherProgramDo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	of := func(more ...string) []string {
		var environ []string
		flags := s.flags()
		redirects := ""
		for i := 0; i < len(flags); i += 2 {
			name := strings.ToUpper(strings.ReplaceAll(flags[i][1:], "-", "_"))
			if name == "CONNECT_TO" {
				redirects += " " + flags[i+1]
				continue
			}
			environ = append(environ, "THERMOSTAT_"+name+"="+flags[i+1])
		}
		return append(environ, append(more, "THERMOSTAT_CONNECT_TO="+redirects,
			"THERMOSTAT_KEY="+canaryKey, "THERMOSTAT_INTERVAL=1m")...)
	}
	r := start(t, "", of(), "register", "-env-of", "thermostat")
	assert.Equal(t, 0, r.code, r.stderr)
	r = start(t, "", of("REHOME_REGISTRATION_ID=other"), "register", "-env-of", "thermostat")
	assert.Equal(t, 1, r.code, "its own variables go before")
	r = start(t, "", of(), "register")
	assert.Contains(t, r.stderr, "-id-scope is missing")
	r = start(t, "", of("THERMOSTAT_STORE="+s.write("file", nil)), "why", "-env-of", "thermostat")
	assert.Equal(t, 2, r.code)
	assert.Contains(t, r.stderr, "THERMOSTAT_STORE", "it is named as it is called")
}

func TestHelpListsWhatThereIs(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-help"}, {"help"}, {"-h"}} {
		r := start(t, "", nil, args...)
		assert.Equal(t, 0, r.code)
		for _, c := range commands {
			assert.Contains(t, r.stdout, "\n  "+c.name+" ")
		}
	}
	for _, c := range commands {
		r := start(t, "", nil, c.name, "-help")
		assert.Equal(t, 0, r.code, c.name)
		assert.Contains(t, r.stdout, "rehome "+c.name+": "+c.does)
		assert.Contains(t, r.stdout, "REHOME_ID_SCOPE")
		for _, o := range newProgram(c, nil, nil, nil).Options() {
			assert.Contains(t, r.stdout, "  -"+o.Name, c.name)
		}
	}
	assert.Contains(t, start(t, "", nil, "-version").stdout, "rehome ")
}

func TestDocumentationNamesEverySubcommandAndItsFlags(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	shared := newProgram(command{}, nil, nil, nil).Options()
	for _, c := range commands {
		assert.Contains(t, string(readme), "| `"+c.name+"` |")
		for _, o := range newProgram(c, nil, nil, nil).Options()[len(shared):] {
			flag := strings.TrimSpace("-" + o.Name + " " + strings.ReplaceAll(o.Value, "|", `\|`))
			assert.Contains(t, string(readme), "`"+flag+"`", c.name)
		}
	}
	for _, o := range shared {
		assert.Contains(t, string(readme), "-"+o.Name, "it is the thermostat's too, or its own")
	}
}

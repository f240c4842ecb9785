// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASettingThatIsWrongIsOneLineWithTheFix(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	list := s.list(t, "sensor-1")
	good := s.flags(list)
	config := func(name, text string) []string {
		return append(s.flags(list), "-config", s.write(t, name, text))
	}
	for name, c := range map[string]struct {
		args []string
		env  []string
		says string
	}{
		"no scope":      {args: []string{"-dir", "x"}, says: "-id-scope is missing"},
		"no list":       {args: good[:2], says: "-identities is missing"},
		"no list there": {args: append(good, "-identities", "none.csv"), says: "-identities: "},
		"a bad list": {
			args: append(good, "-identities", s.write(t, "bad.csv", "id\n")),
			says: "bad.csv: line 1",
		},
		"no directory":      {args: append(good, "-dir", filepath.Join(list, "x")), says: "-dir: "},
		"an address":        {args: append(good, "-http", "8080"), says: "-http is no address"},
		"a taken port":      {args: append(good, "-http", s.network.HTTPSAddr()), says: "-http: "},
		"a taken MQTT port": {args: append(good, "-mqtt", s.network.HTTPSAddr()), says: "-mqtt: "},
		"a short token": {
			args: good, env: []string{"GATEWAY_TOKEN=canary"},
			says: "GATEWAY_TOKEN is no token",
		},
		"a group key": {
			args: good, env: []string{"GATEWAY_GROUP_KEY=canary"},
			says: "GATEWAY_GROUP_KEY: ",
		},
		"a size": {
			args: append(good, "-keep-bytes", "12Q"),
			says: "-keep-bytes is no size",
		},
		"a rate": {
			args: append(good, "-hub-per-second", "-1"),
			says: "-hub-per-second is no rate",
		},
		"a flag": {
			args: append(good, "-identity", list),
			says: "-identity does not exist",
		},
		"a variable": {
			args: good, env: []string{"GATEWAY_IDENTITY=x"},
			says: "GATEWAY_IDENTITY is not a setting",
		},
		"two peers": {
			args: append(good, "-cluster-listen", "127.0.0.1:1", "-cluster-peers",
				"127.0.0.1:1,127.0.0.1:2"),
			says: "-cluster-peers has less than three",
		},
		"no peers": {
			args: append(good, "-cluster-listen", "127.0.0.1:1"),
			says: "needs -cluster-peers",
		},
		"two ways to meet": {
			args: append(good, "-cluster-listen", "127.0.0.1:1", "-cluster-peers", "a:1,b:1,c:1"),
			env:  []string{"GATEWAY_NATS=nats://user:canary@a"},
			says: "GATEWAY_NATS and -cluster-listen are both given",
		},
		"a long wait": {args: append(good, "-commit-interval", "1m"), says: "-commit-interval: "},
		"a url of NATS": {
			args: good, env: []string{"GATEWAY_NATS=nats://user:canary@host:port"},
			says: "GATEWAY_NATS has a part that is no url",
		},
		"a url of something else": {
			args: append(good, "-nats", "http://nats:4222"), says: "-nats has a part that is no url",
		},
		"a port of NATS": {
			args: good, env: []string{"GATEWAY_NATS=nats://a, nats://user:canary@b:99999"},
			says: "GATEWAY_NATS has a port that is none",
		},
		"no host of NATS": {
			args: append(good, "-nats", "nats://:4222"), says: "-nats has a part that is no url",
		},
		"two kinds of NATS": {
			args: append(good, "-nats", "ws://a,tls://b"), says: "-nats mixes ws",
		},
		"a name in NATS": {
			args: append(good, "-nats", "a", "-nats-name", "a.b"), says: "-nats-name is no name",
		},
		"a name of leases": {
			args: append(good, "-nats", "a", "-nats-name", "b-leases"),
			says: "-nats-name ends as the name of a bucket of leases",
		},
		"a name in no NATS": {
			args: append(good, "-nats-name", "a"), says: "-nats-name needs -nats",
		},
		"no file of NATS's credentials": {
			args: append(good, "-nats-creds", "none.creds"), env: []string{"GATEWAY_NATS=" + "a"},
			says: "-nats-creds: ",
		},
		"a name alone": {args: append(good, "-replica", "a"), says: "-replica needs -nats"},
		"a file that has an unknown name": {
			args: config("a.conf", "# settings\n\nid-scope = 0ne00000001\nidentity = x\n"),
			says: "a.conf:4: identity is not a setting",
		},
		"a file that has a name twice": {
			args: config("b.conf", "lease = 5s\nlease = 6s\n"),
			says: "b.conf:2: lease stands in line 1 already",
		},
		"a file that has no equals sign": {
			args: config("c.conf", "lease 5s\n"), says: "c.conf:1: there is no equals sign",
		},
		"a file with a bad value": {
			args: config("d.conf", "\nlease = 5\n"), says: "d.conf:2: lease is not a duration",
		},
		"a file with a key in the wrong place": {
			args: config("e.conf", canaryKey+"= x\n"), says: "e.conf:1: ",
		},
		"a file that is not there": {
			args: append(s.flags(list), "-config", "none.conf"), says: "-config: ",
		},
		"a file in a file": {
			args: config("f.conf", "config = a.conf\n"), says: "f.conf:1: config is a flag alone",
		},
	} {
		p := launch(t, c.args, c.env...)
		assert.Equal(t, 2, p.wait(), name)
		assert.Contains(t, p.Stderr(), "gateway: ", name)
		assert.Contains(t, p.Stderr(), c.says, name)
		assert.NotContains(t, p.Stderr(), "\n", name)
	}
}

func TestAFlagGoesBeforeAVariableAndThatBeforeTheFile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	list := s.list(t, "sensor-1")
	file := s.write(t, "gateway.conf", "lease = 1\ntoken = \ndrop = 2\nlog-format = 3\n")
	args := append(s.flags(list), "-config", file, "-drop", "newest", "-check")
	p := launch(t, args, "GATEWAY_LEASE=5s", "GATEWAY_LOG_FORMAT=xml")
	assert.Equal(t, 2, p.wait())
	assert.Contains(t, p.Stderr(), "GATEWAY_LOG_FORMAT is not a log format")
	p = launch(t, args, "GATEWAY_LEASE=5s")
	assert.Equal(t, 2, p.wait())
	assert.Contains(t, p.Stderr(), "gateway.conf:4: log-format is not a log format")
	p = launch(t, append(args, "-log-format", "text"), "GATEWAY_LEASE=5s",
		"GATEWAY_SERVICE_HOST=10.0.0.11", "GATEWAY_PORT=tcp://10.0.0.11:80") // of Kubernetes
	assert.Equal(t, 0, p.wait(), "%s", p.Stderr())
	assert.Contains(t, p.Stdout.String(), "1 identities in ")
	_, err := os.Stat(filepath.Join(s.dir, "state"))
	assert.ErrorIs(t, err, os.ErrNotExist, "-check makes nothing")
}

func TestHelpNamesEverySettingAndIsInTheREADME(t *testing.T) {
	t.Parallel()
	p := launch(t, []string{"-help"})
	assert.Equal(t, 0, p.wait())
	help := p.Stdout.String()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	sample, err := os.ReadFile("gateway.conf")
	require.NoError(t, err)
	flags := 0
	for line := range strings.Lines(help) {
		flag, ok := strings.CutPrefix(line, "  -")
		if !ok {
			continue
		}
		flags++
		flag = strings.TrimSpace(flag)
		name, _, _ := strings.Cut(flag, " ")
		assert.Contains(t, string(readme), "| `-"+strings.ReplaceAll(flag, "|", `\|`)+"` |")
		if name != "config" && name != "check" && name != "version" {
			set := regexp.MustCompile(`(?m)^#?` + name + ` =`)
			assert.True(t, set.Match(sample), "gateway.conf: %s", name)
		}
	}
	assert.Greater(t, flags, 20)
}

func TestASecondGatewayOnTheSameDirectoryIsToldSo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	list := s.list(t, "sensor-1")
	p := launch(t, s.flags(list))
	p.url("")
	second := launch(t, s.flags(list))
	assert.Equal(t, 2, second.wait())
	assert.Contains(t, second.Stderr(), "is in use by another process")
	p.stop()
}

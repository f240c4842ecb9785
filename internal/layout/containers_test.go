// SPDX-License-Identifier: Apache-2.0

//go:build unix

package layout

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/assert/yaml"
	"github.com/stretchr/testify/require"
)

// No engine builds the images here. What can be wrong without one is looked for: instructions,
// stages, packages, flags and names, and that the three programs do together what compose.yaml says
// of them.

// stage is one image of the Containerfile.
type stage struct {
	from         string
	instructions [][2]string // word and rest
}

// all is what the instructions of a kind say.
func (s stage) all(word string) (found []string) {
	for _, i := range s.instructions {
		if i[0] == word {
			found = append(found, i[1])
		}
	}
	return found
}

// exec is an instruction in its JSON form, as a list of words. ("Dockerfile reference", exec form.)
func (s stage) exec(t *testing.T, word string) (words []string) {
	t.Helper()
	found := s.all(word)
	require.Len(t, found, 1, word)
	require.NoError(t, json.Unmarshal([]byte(found[0]), &words), found[0])
	return words
}

func containerfile(t *testing.T) map[string]stage {
	t.Helper()
	text := strings.ReplaceAll(read(t, filepath.Join(root, "Containerfile")), "\\\n", " ")
	known := []string{
		"COPY", "RUN", "WORKDIR", "USER", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD",
	}
	stages := map[string]stage{}
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		if word == "FROM" {
			words := strings.Fields(rest)
			require.Len(t, words, 3, "FROM image AS name: %s", line)
			require.Equal(t, "AS", words[1])
			name = words[2]
			require.NotContains(t, stages, name)
			stages[name] = stage{from: words[0]}
			continue
		}
		require.Contains(t, known, word, line)
		require.NotEmpty(t, name, "%s: before FROM", line)
		s := stages[name]
		s.instructions = append(s.instructions, [2]string{word, rest})
		stages[name] = s
	}
	return stages
}

var goVersion = regexp.MustCompile(`(?m)^go (\d+\.\d+)`)

// authorities are where Go looks for them on Linux.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

func TestContainerfileBuildsWhatThereIs(t *testing.T) {
	stages := containerfile(t)
	build := stages["build"]
	version := goVersion.FindStringSubmatch(read(t, filepath.Join(root, "go.mod")))
	require.NotNil(t, version)
	assert.Equal(t, "docker.io/library/golang:"+version[1], build.from)
	var made []string // by name, in /out
	for _, command := range build.all("RUN") {
		for _, word := range strings.Fields(command) {
			if strings.HasPrefix(word, "./") {
				runGo(t, nil, "build", "-o", os.DevNull, word)
				made = append(made, "/out/"+filepath.Base(word))
			}
			if strings.HasPrefix(word, "/out/") && word != "/out/" {
				for dir := word; dir != "/out"; dir = filepath.Dir(dir) {
					made = append(made, dir)
				}
			}
		}
	}
	var trusts []string
	for name, s := range stages {
		if name == "build" {
			continue
		}
		assert.Equal(t, "scratch", s.from, name)
		program := "/" + name
		assert.Equal(t, []string{program}, s.exec(t, "ENTRYPOINT"))
		assert.Len(t, s.all("USER"), 1, "%s: it is no root", name)
		assert.NotContains(t, s.all("USER")[0], "0:0")
		copied := false
		for _, c := range s.all("COPY") {
			words := slices.DeleteFunc(strings.Fields(c), func(word string) bool {
				return strings.HasPrefix(word, "--chown=")
			})
			require.Len(t, words, 3, c)
			assert.Equal(t, "--from=build", words[0])
			if words[1] == authorities { // of the image that builds
				trusts = append(trusts, name)
				continue
			}
			assert.Contains(t, made, words[1], "%s copies what the build does not make", name)
			copied = copied || words[1] == "/out"+program && words[2] == program
		}
		assert.True(t, copied, "%s has no program", name)
		hasFlags(t, name, s.exec(t, "CMD"))
		if name != "backend" { // it keeps nothing
			assert.NotEmpty(t, s.all("VOLUME"), name)
		}
	}
	assert.ElementsMatch(t, []string{"thermostat", "rehome"}, trusts,
		"who connects to the services has whom to trust")
	assert.Equal(t, []string{"443 8883"}, stages["simulator"].all("EXPOSE"))
	// Who asks for the status of a device is answered by its own user alone.
	assert.Equal(t, stages["thermostat"].all("USER"), stages["rehome"].all("USER"))
}

var packageOf = map[string]string{
	"simulator": "./examples/simulator", "backend": "./examples/simulator/backend",
	"thermostat": "./examples/thermostat", "rehome": "./examples/rehome",
}

// hasFlags looks for the flags of a command in what the program says of itself.
func hasFlags(t *testing.T, program string, args []string) {
	t.Helper()
	require.Contains(t, packageOf, program)
	ask := []string{"run", packageOf[program], "-help"}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") { // a subcommand, with flags of its own
		ask = slices.Insert(ask, 2, args[0])
	}
	run := exec.CommandContext(t.Context(), "go", ask...)
	run.Dir = root
	help, err := run.CombinedOutput()
	require.NoError(t, err, "%s", help)
	for _, arg := range args {
		if name, _, _ := strings.Cut(arg, "="); strings.HasPrefix(name, "-") {
			assert.Regexp(t, `(?m)^\s+`+regexp.QuoteMeta(name)+`\b`, string(help), program)
		}
	}
}

type composition struct {
	Services map[string]struct {
		Build struct {
			Context, Dockerfile, Target string
		}
		Command     []string
		Environment map[string]string
		Ports       []string
		Volumes     []string
		DependsOn   []string `yaml:"depends_on"`
		Configs     []struct{ Source, Target string }
		Networks    map[string]struct{ Aliases []string }
		Sysctls     map[string]int
		Restart     string
	}
	Configs map[string]struct{ Content string }
	Volumes map[string]any
}

// compose reads compose.yaml as somebody gets it who sets no variable.
func compose(t *testing.T) composition {
	t.Helper()
	text := read(t, filepath.Join(root, "compose.yaml"))
	text = regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`).ReplaceAllString(text, "$1")
	require.NotContains(t, text, "${")
	var c composition
	require.NoError(t, yaml.Unmarshal([]byte(text), &c))
	return c
}

func TestComposeFileNamesWhatThereIs(t *testing.T) {
	stages, c := containerfile(t), compose(t)
	require.Len(t, c.Services, 4)
	for name, s := range c.Services {
		assert.Equal(t, name, s.Build.Target)
		assert.Contains(t, stages, s.Build.Target)
		assert.FileExists(t, filepath.Join(root, s.Build.Context, s.Build.Dockerfile))
		hasFlags(t, name, s.Command)
		for _, other := range s.DependsOn {
			assert.Contains(t, c.Services, other)
		}
		for _, v := range s.Volumes {
			volume, _, _ := strings.Cut(v, ":")
			assert.Contains(t, c.Volumes, volume)
		}
		for _, file := range s.Configs {
			assert.Contains(t, c.Configs, file.Source)
			assert.Contains(t, strings.Join(s.Command, " "), file.Target)
		}
		for _, port := range s.Ports {
			assert.True(t, strings.HasPrefix(port, "127.0.0.1:"), "%s: for this machine", port)
			_, inside, _ := strings.Cut(strings.TrimPrefix(port, "127.0.0.1:"), ":")
			assert.Contains(
				t, strings.Fields(strings.Join(stages[name].all("EXPOSE"), " ")), inside, name,
			)
		}
	}
	var file struct {
		IDScope string
		Hubs    []struct{ HostName string }
	}
	require.NoError(t, json.Unmarshal([]byte(c.Configs["simulator"].Content), &file))
	assert.Equal(t, file.IDScope, c.Services["thermostat"].Environment["THERMOSTAT_ID_SCOPE"])
	names := []string{
		"global.azure-devices-provisioning.net", file.IDScope + ".azure-devices-provisioning.net",
		"simulator.test",
	}
	for _, h := range file.Hubs {
		short, _, _ := strings.Cut(h.HostName, ".")
		names = append(names, h.HostName, short+".blob.core.windows.net")
	}
	assert.ElementsMatch(
		t, names, c.Services["simulator"].Networks["default"].Aliases, "names of the simulator",
	)
}

// The programs are started as compose.yaml says, with other ports and directories; what its network
// does by names the device does by -connect-to.
func TestProgramsOfTheComposeFileWorkTogether(t *testing.T) {
	t.Parallel()
	c, dir := compose(t), t.TempDir()
	runGo(
		t, nil, "build", "-o", dir+string(filepath.Separator), packageOf["simulator"],
		packageOf["backend"], packageOf["thermostat"],
	)
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	require.NoError(t, err)
	backEnd := l.Addr().String()
	require.NoError(t, l.Close())
	for _, name := range []string{"ca", "data"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	require.NoError(t, os.WriteFile(
		filepath.Join(dir, "simulator.json"), []byte(c.Configs["simulator"].Content), 0o600,
	))
	others := strings.NewReplacer(
		"=0.0.0.0:8000", "="+backEnd, "http://backend:8000", "http://"+backEnd,
		"=0.0.0.0", "=127.0.0.1", "=/", "="+dir+"/",
	)
	begin := func(service string, out io.Writer, more ...string) {
		s := c.Services[service]
		cmd := exec.Command(filepath.Join(dir, service))
		for _, arg := range s.Command {
			cmd.Args = append(cmd.Args, others.Replace(arg))
		}
		cmd.Args = append(cmd.Args, more...)
		cmd.Env, cmd.Stdout = os.Environ(), out
		for name, value := range s.Environment {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		startProgram(t, cmd, filepath.Join(dir, service+".log"))
	}
	begin("backend", nil)
	line, err := os.Create(filepath.Join(dir, "ready.json"))
	require.NoError(t, err)
	defer line.Close()
	begin("simulator", line, "-https=0", "-mqtt=0")
	var ready struct{ HTTPS, MQTT string }
	eventually(t, "the ready line", func() bool {
		line, _ := os.ReadFile(filepath.Join(dir, "ready.json"))
		return json.Unmarshal(line, &ready) == nil
	})
	begin(
		"thermostat", nil, "-connect-to=:443:"+ready.HTTPS, "-connect-to=:8883:"+ready.MQTT,
	)
	eventually(t, "telemetry at the back end", func() bool {
		response, err := http.Get("http://" + backEnd + "/devices")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		var last map[string]struct {
			Hub     string
			Message struct{ Body string }
		}
		return json.NewDecoder(response.Body).Decode(&last) == nil &&
			strings.Contains(last["thermostat-1"].Message.Body, "temperature")
	})
	assert.FileExists(t, filepath.Join(dir, "data", "feed.key"))
	assert.DirExists(t, filepath.Join(dir, "data", "store"))
}

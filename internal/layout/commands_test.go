package layout

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A runner is who runs a command that a document shows: a step of .ci/run that holds these words,
// or a test of a package.
type runner struct {
	step, holds   string
	dir, function string
}

func ci(step, holds string) runner       { return runner{step: step, holds: holds} }
func goTest(dir, function string) runner { return runner{dir: dir, function: function} }

// runners says of every command in a document who runs it, word for word. What nobody can run here,
// since it needs a cloud, a board or the reader's own program, is marked in the document instead:
// <!-- not run: reason --> before the block or the paragraph.
var runners = map[string]runner{
	"go run ./examples/quickstart": ci("commands", "README.md"),
	"go test ./...":                ci("commands", "README.md"),

	"bash .ci/run":                   ci("lint", "staticcheck"), // CI is this command
	"bash .ci/run lint race":         ci("race", `"-race"`),
	"bash .ci/run mutate":            ci("mutate", "run ./mutate"),
	"go test ./internal/layout":      ci("race", `"test", "-race"`),
	"go doc ./provisioning":          documented,
	"go doc -all ./provisioning":     documented,
	"go doc -all ./hubconn":          documented,
	"go doc ./hubconn/hubtest":       documented,
	"go doc ./hubconn/simnet":        documented,
	"go doc ./hubconn/simnet Event":  documented,
	"go doc ./provisioning/dpstest":  documented,
	"go doc -all ./provisioning/dps": documented,

	"go -C internal/tools run ./mutate -dir ../.. -pkg ./internal/rules -short -sample 100": ci("mutate", "go -C internal/tools run ./mutate -dir ../.. -pkg ./internal/rules "),

	// With ports that are free, and its files in a temporary directory.
	"go run ./examples/simulator -https 8443 -mqtt 8884": walked,

	"go test -run '^$' -bench Fleet ./examples/simulator":                        ci("fleet", "'^Benchmark(Fleet|"),
	"go test -run '^$' -bench StateFile ./examples/simulator":                    ci("fleet", "|StateFile)$'"),
	"go run ./examples/simulator -https 8443 -mqtt 8884 -console 127.0.0.1:8080": goTest("internal/consolepage", "TestAPersonMovesADeviceByAllPolicies"),

	"go test -run '^$' -bench Send ./hubconn":                             ci("bench", "Benchmark(Send|"),
	"go test -run '^$' -bench Boot ./hubconn":                             ci("bench", "|Boot|"),
	"go test -run '^$' -bench Idle ./hubconn":                             ci("bench", "|Idle)$"),
	"BENCHTIME=1s bash .ci/run bench":                                     ci("bench", `Getenv("BENCHTIME")`),
	"(cd internal/officialclients/testdata && npm ci --ignore-scripts)":   ci("official", `"npm", "ci", "--ignore-scripts"`),
	"REHOME_OFFICIAL_CLIENTS=required go test ./internal/officialclients": ci("official", "REHOME_OFFICIAL_CLIENTS=required"),

	`GOOS=linux GOARCH=arm GOARM=6 CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" ./examples/thermostat`: ci("cross", `"build", "-trimpath", "-ldflags", "-s -w"`),

	`GOOS=linux GOARCH=arm GOARM=6 CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -gcflags all=-l -gcflags crypto/...= -gcflags runtime/...= ./examples/thermostat`: ci("cross", `buildFor(s, small...)`),
}

var (
	documented = goTest("internal/layout", "TestPackagesThatDocumentsNameHaveDocumentation")
	walked     = goTest("internal/layout", "TestDevicesMoveAsTheSimulatorsPageSays")
)

// The section that is run as a whole, since each of its commands builds on those before.
const (
	walkPage    = "examples/simulator/README.md"
	walkHeading = "moving-devices-between-hubs-step-by-step"
	walkBlocks  = 7
)

// Programs whose name makes a code span a command, if an argument follows.
var programs = []string{
	"go", "bash", "make", "npm", "curl", "sudo", "systemctl", "az", "docker", "podman", "git",
	"./thermostat",
}

var setting = regexp.MustCompile(`^[A-Z_]+=`)

func isCommand(text string) bool {
	words := strings.Fields(text)
	for len(words) > 0 && setting.MatchString(words[0]) {
		words = words[1:]
	}
	return len(words) > 1 && slices.Contains(programs, words[0])
}

// commands are the lines of a block of shell, without what is broken or said in them.
func commands(text string) []string {
	var found []string
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		line, _, _ = strings.Cut(" "+line, " #")
		if words := strings.Fields(line); len(words) > 0 {
			found = append(found, strings.Join(words, " "))
		}
	}
	return found
}

func TestEveryCommandInADocumentIsRunOrSaysWhyNot(t *testing.T) {
	used := map[string]bool{}
	check := func(page document, line int, command string) {
		_, ok := runners[command]
		assert.True(
			t, ok, "%s:%d: nobody runs %q: add it to runners, or mark it <!-- not run: reason -->",
			page.name, line, command,
		)
		used[command] = true
	}
	walked := 0
	for _, page := range documents(t) {
		for _, b := range page.blocks {
			switch {
			case b.language != "sh":
				assert.Empty(t, b.notRun, "%s:%d: the marker is for commands", page.name, b.line)
			case b.notRun != "":
			case page.name == walkPage && b.heading == walkHeading:
				walked++
			default:
				for _, command := range commands(b.text) {
					check(page, b.line, command)
				}
			}
		}
		for _, s := range page.spans {
			if s.notRun == "" && isCommand(s.text) {
				check(page, s.line, s.text)
			}
		}
	}
	for command := range runners {
		assert.True(t, used[command], "no document shows %q", command)
	}
	assert.Equal(t, walkBlocks, walked, "blocks of the walk")
}

func TestRunnersOfCommandsExist(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(root, ".ci", "run"))
	require.NoError(t, err)
	for command, r := range runners {
		if r.step != "" {
			assert.Contains(t, stepText(t, string(script), r.step), r.holds,
				"step %s runs %s no more", r.step, command)
			continue
		}
		files, err := filepath.Glob(filepath.Join(root, r.dir, "*_test.go"))
		require.NoError(t, err)
		found := false
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			found = found || strings.Contains(string(text), "\nfunc "+r.function+"(")
		}
		assert.True(t, found, "%s: %s has no test %s", command, r.dir, r.function)
	}
}

// stepText is what a step of .ci/run does: its lines there, or the file of internal/ci that it
// calls.
func stepText(t *testing.T, script, step string) string {
	_, body, ok := strings.Cut(script, "\nstep_"+step+"() {")
	require.True(t, ok, "no step %s", step)
	body, _, _ = strings.Cut(body, "}\n")
	if strings.TrimSpace(body) != "ci "+step+";" {
		return body
	}
	text, err := os.ReadFile(filepath.Join(root, "internal", "ci", step+".go"))
	require.NoError(t, err)
	return string(text)
}

func TestPackagesThatDocumentsNameHaveDocumentation(t *testing.T) {
	for command, r := range runners {
		if r == documented {
			out := runGo(t, nil, strings.Fields(command)[1:]...)
			assert.Greater(t, len(out), 500, command)
		}
	}
}

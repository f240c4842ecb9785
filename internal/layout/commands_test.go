// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"maps"
	"os"
	"os/exec"
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
//
// That a step holds them shows that it still is the one for this command, and no more. That the
// command works is shown by the step, which CI runs; of what only runs if it is asked for, with the
// reason why, nobody knows but who asks.
type runner struct {
	step, holds   string
	asked         string
	dir, function string
}

func ci(step, holds string) runner       { return runner{step: step, holds: holds} }
func goTest(dir, function string) runner { return runner{dir: dir, function: function} }

func ifAsked(step, holds, why string) runner {
	return runner{step: step, holds: holds, asked: why}
}

// runners says of every command in a document who runs it, word for word. What nobody can run here,
// since it needs a cloud, a board or the reader's own program, is marked in the document instead:
// <!-- not run: reason --> before the block or the paragraph.
var runners = map[string]runner{
	"go run ./examples/quickstart": ci("commands", "README.md"),
	"go test ./...":                ci("commands", "README.md"),
	"go run ./examples/lifecycle":  ci("commands", `"go run ./examples/lifecycle"`),

	"git clone https://github.com/rehome-iot/rehome": newcomer,
	"cd rehome":   newcomer,
	"go mod init": newcomer,
	"go get github.com/rehome-iot/rehome/provisioning@latest": newcomer,

	"bash .ci/run":                   ci("lint", "staticcheck"), // CI is this command
	"bash .ci/run lint race":         ci("race", `"-race"`),
	"make gosec":                     ci("gosec", `"-nosec"`),
	"make vuln":                      ci("vuln", `"-db", database`),
	"make sbom":                      ci("sbom", "checkBill(bill"),
	"make reproduce":                 ci("reproduce", "w.built(\"another\""),
	"bash .ci/run package":           ci("package", `"release", "--snapshot"`),
	"bash .ci/spdx":                  goTest("internal/layout", "TestEachSourceFileNamesItsLicence"),
	"bash .ci/run mutate":            ifAsked("mutate", "run ./mutate", "an hour"),
	"go test ./internal/layout":      ci("race", `"test", "-race"`),
	"go test ./internal/reliability": ci("race", `"test", "-race"`),
	"make reliability":               ifAsked("reliability", "./internal/reliability -update", "it writes"),
	"go doc ./provisioning":          documented,
	"go doc -all ./provisioning":     documented,
	"go doc -all ./hubconn":          documented,
	"go doc ./hubconn/hubtest":       documented,
	"go doc ./hubconn/simnet":        documented,
	"go doc ./hubconn/simnet Event":  documented,
	"go doc ./provisioning/dpstest":  documented,
	"go doc -all ./provisioning/dps": documented,

	"go -C internal/tools run ./mutate -dir ../.. -pkg ./internal/rules -short -sample 100": ifAsked("mutate", "go -C internal/tools run ./mutate -dir ../.. -pkg ./internal/rules ", "minutes"),

	// With ports that are free, and its files in a temporary directory.
	"go run ./examples/simulator -https 8443 -mqtt 8884": walked,

	"go test -run '^$' -bench Fleet ./examples/simulator":                        ci("fleet", "'^Benchmark(Fleet|"),
	"go test -run '^$' -bench StateFile ./examples/simulator":                    ci("fleet", "|StateFile)$'"),
	"go run ./examples/simulator -https 8443 -mqtt 8884 -console 127.0.0.1:8080": goTest("internal/consolepage", "TestAPersonMovesADeviceByAllPolicies"),

	"go -C examples/fleet run . -list":                                                                                                              played,
	"go -C examples/fleet run . -scenario reboot,clock-1970 -devices 10000":                                                                         played,
	"go -C examples/fleet run . -scenario phases -phases plan -devices 2000 -quota 100":                                                             played,
	"go -C examples/fleet run . -scenario move,move-stagger,move-wrong-stagger -devices 5000 -quota 50 -hub-rate 30 -svg ../../docs/fleet-move.svg": played,
	"go -C examples/fleet run . -scenario hub-down -devices 5000 -quota 50 -hub-rate 30 -svg ../../docs/fleet-hub-down.svg":                         played,
	"go -C examples/fleet run . -scenario move -rival all -until 6h -devices 500 -quota 5 -hub-rate 3 -svg ../../docs/fleet-rivals.svg":             played,
	"go -C examples/fleet run . -windows ../../docs/fleet-windows.svg -devices 20000 -quota 20 -hub-rate 120 -latency 1s -x509":                     ci("figures", "Documents"),
	"go -C examples/fleet run . -table windows":                                                                                                     ci("figures", "Tables"),
	"go -C examples/gateway run ./try -replicas 3 -devices 30": goTest(
		"examples/gateway/try", "TestTheDevicesOfAReplicaThatIsKilledAreAtTheOthers"),
	"bash .ci/run million": ifAsked("million", "REHOME_TESTS=million", "many minutes"),
	"make fleet-page":      ifAsked("fleet-page", "-update", "it writes what figures compares"),

	"go test -run '^$' -bench Send ./hubconn":                             ci("bench", `"Send|`),
	"go test -run '^$' -bench Boot ./hubconn":                             ci("bench", `|Boot|`),
	"go test -run '^$' -bench Idle ./hubconn":                             ci("bench", `|Idle"`),
	"go test -run '^$' -bench Register ./provisioning/dps":                ci("bench", `"Register"`),
	"go test -run '^$' -bench Devices ./examples/simulator":               ci("bench", `"Devices|`),
	"go test -run '^$' -bench Identities ./examples/simulator":            ci("bench", `|Identities|`),
	"bash .ci/run bench":                                                  ci("bench", `"-benchtime", "1x"`),
	"make bench":                                                          ifAsked("bench", `Getenv("BENCHTIME")`, "CI measures nothing: it has each benchmark run once"),
	"(cd internal/officialclients/testdata && npm ci --ignore-scripts)":   ci("official", `"npm", "ci", "--ignore-scripts"`),
	"REHOME_OFFICIAL_CLIENTS=required go test ./internal/officialclients": ci("official", "REHOME_OFFICIAL_CLIENTS=required"),

	`GOOS=linux GOARCH=arm GOARM=6 CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" ./examples/thermostat`: ci("cross", `"build", "-trimpath", "-ldflags", "-s -w"`),

	`GOOS=linux GOARCH=arm GOARM=6 CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -tags nethttpomithttp2 -gcflags all=-l -gcflags crypto/...= -gcflags runtime/...= ./examples/thermostat`: ci("cross", `buildFor(s, small...)`),
}

var (
	documented = goTest("internal/layout", "TestPackagesThatDocumentsNameHaveDocumentation")
	newcomer   = goTest("internal/layout", "TestANewcomerSeesTheFirstMessage")
	played     = goTest("examples/fleet", "TestTheDocumentsCommandsMakeTheirPictures")
	walked     = goTest("internal/layout", "TestDevicesMoveAsTheSimulatorsPageSays")
)

// A walk is a section of a page that a test runs as a whole, since each of its commands builds on
// those before.
type walk struct {
	page, heading string
	blocks        int
	by            runner
}

// The one that a test of this package runs.
const (
	walkPage    = "examples/simulator/README.md"
	walkHeading = "moving-devices-between-hubs-step-by-step"
	walkBlocks  = 7

	newcomerPage    = "docs/first-hour.md"
	newcomerHeading = "from-a-clone-to-a-message"
	newcomerBlocks  = 3
)

var walks = []walk{
	{newcomerPage, newcomerHeading, newcomerBlocks, newcomer},
	{walkPage, walkHeading, walkBlocks, walked},
	{"examples/gateway/README.md", "ten-minutes", 5, goTest("examples/gateway", "TestThePageWorksAsItSays")},
	{"examples/pkcs11/README.md", "ten-minutes", 6, goTest("examples/pkcs11", "TestThePageWorksAsItSays")},
	{"examples/rehome/README.md", "ten-minutes", 5, goTest("internal/layout", "TestTheCommandLineWorksAsItsPageSays")},
}

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
	walked := make([]int, len(walks))
	for _, page := range documents(t) {
		for _, b := range page.blocks {
			walk := slices.IndexFunc(walks, func(w walk) bool {
				return w.page == page.name && w.heading == b.heading
			})
			switch {
			case b.language != "sh":
				assert.Empty(t, b.notRun, "%s:%d: the marker is for commands", page.name, b.line)
			case b.notRun != "":
			case walk >= 0:
				walked[walk]++
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
	for i, w := range walks {
		assert.Equal(t, w.blocks, walked[i], "blocks of the walk of %s", w.page)
	}
}

func TestRunnersOfCommandsExist(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(root, ".ci", "run"))
	require.NoError(t, err)
	all := maps.Clone(runners)
	for _, w := range walks {
		all["the commands of "+w.page] = w.by
	}
	for command, r := range all {
		assert.True(t, r.exists(t, string(script)), "%s: there is no %+v", command, r)
	}
}

// What CI does not run by itself is no secret, and what it is said to run is among its steps.
func TestStepsAreRunByCIOrOnlyIfAskedFor(t *testing.T) {
	script := read(t, filepath.Join(root, ".ci", "run"))
	all := regexp.MustCompile(`(?m)^all=\(([^)]*)\)$`).FindStringSubmatch(script)
	require.NotNil(t, all)
	steps := strings.Fields(all[1])
	for command, r := range runners {
		if r.step == "" {
			continue
		}
		runs := slices.Contains(steps, r.step)
		if command == "make bench" { // the step is run, with other settings
			assert.True(t, runs)
			continue
		}
		assert.Equal(t, r.asked == "", runs, "%q is by step %s", command, r.step)
	}
}

// A command that names a step leads to that step, also by way of the Makefile.
func TestCommandsLeadToTheirSteps(t *testing.T) {
	for command, r := range runners {
		if words := strings.Fields(command); strings.HasPrefix(command, "make ") {
			if _, err := exec.LookPath("make"); err != nil {
				continue
			}
			dry := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-n", words[1])
			dry.Dir = root
			out, err := dry.CombinedOutput()
			require.NoError(t, err, "%s\n%s", command, out)
			assert.Regexp(t, `(?m)^(\S+ )?bash \.ci/run `+r.step+`$`, string(out), command)
			measures := strings.HasPrefix(string(out), "BENCHTIME=")
			assert.Equal(t, command == "make bench", measures, command)
		} else if steps, ok := strings.CutPrefix(command, "bash .ci/run "); ok {
			assert.Contains(t, strings.Fields(steps), r.step, command)
		}
	}
}

// exists says that there still is who runs a command.
func (r runner) exists(t *testing.T, script string) bool {
	if r.step != "" {
		return strings.Contains(stepText(t, script, r.step), r.holds)
	}
	files, err := filepath.Glob(filepath.Join(root, r.dir, "*_test.go"))
	require.NoError(t, err)
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		return strings.Contains(string(text), "\nfunc "+r.function+"(")
	})
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

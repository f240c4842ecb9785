// SPDX-License-Identifier: Apache-2.0

//go:build unix

package layout

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// No image is built here, neither by Yocto nor by Buildroot. What can be wrong without one is
// looked for: checksums, versions, paths, variables, and what the recipes' shell and make code
// does.

const (
	recipes   = "docs/packaging/yocto"
	buildroot = "docs/packaging/buildroot"
	brPackage = buildroot + "/package/rehome-thermostat"
)

var comingVersion = regexp.MustCompile(`(?m)^## \[(?:Unreleased\]: )?(\d+\.\d+\.\d+)`)

// coming is the version of the newest section of the changelog.
func coming(t *testing.T) string {
	t.Helper()
	found := comingVersion.FindStringSubmatch(read(t, filepath.Join(root, "CHANGELOG.md")))
	require.NotNil(t, found, "CHANGELOG.md has no section of a version")
	return found[1]
}

func TestTheYoctoRecipeIsOfThisTree(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(root, recipes, "*.bb"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.Equal(t, "rehome-thermostat_"+coming(t)+".bb", filepath.Base(found[0]), "its version")
	recipe := strings.ReplaceAll(read(t, found[0]), "\\\n", "")

	licence := md5.Sum([]byte(read(t, filepath.Join(root, "LICENSE"))))
	assert.Contains(t, recipe, "LICENSE;md5="+hex.EncodeToString(licence[:])+`"`)
	set := regexp.MustCompile(`(?m)^([A-Z_]+(?::[a-z]+)?(?::\$\{PN\})?) = "(.*)"$`)
	values := map[string]string{}
	for _, m := range set.FindAllStringSubmatch(recipe, -1) {
		assert.NotContains(t, values, m[1], "set twice")
		values[m[1]] = m[2]
	}
	assert.Equal(t, "Apache-2.0", values["LICENSE"])
	assert.Equal(t, module, values["GO_IMPORT"])
	assert.Equal(t, "${GO_IMPORT}/examples/thermostat", values["GO_INSTALL"])
	assert.Contains(t, values["SRC_URI"], ";tag=v${PV};")
	assert.Contains(t, values["SRC_URI"], "destsuffix=${GO_SRCURI_DESTSUFFIX}")
	assert.Contains(t, recipe, "\ninherit go-mod systemd\n")
	assert.Contains(t, recipe, "\ndo_compile[network] = \"1\"\n")
	assert.Equal(t, "thermostat.service", values["SYSTEMD_SERVICE:${PN}"])

	// The shell code, with bitbake's variables and functions replaced.
	_, install, ok := strings.Cut(recipe, "do_install:append() {")
	require.True(t, ok)
	install, _, ok = strings.Cut(install, "\n}")
	require.True(t, ok)
	d := t.TempDir()
	at, err := filepath.Abs(root)
	require.NoError(t, err)
	run := exec.CommandContext(t.Context(), "sh", "-euc", strings.NewReplacer(
		"${S}/src/${GO_IMPORT}", at, "${D}", d, "${libdir}", "/usr/lib", "${sysconfdir}", "/etc",
		"${systemd_system_unitdir}", "/usr/lib/systemd/system",
	).Replace(install))
	out, err := run.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assertInstalled(t, d)
	assert.Equal(t, "${sysconfdir}/thermostat.env", values["CONFFILES:${PN}"])
}

// assertInstalled compares what a recipe has put into an image.
func assertInstalled(t *testing.T, image string) {
	t.Helper()
	for path, mode := range map[string]os.FileMode{
		"/usr/lib/systemd/system/thermostat.service": 0o644, "/etc/thermostat.env": 0o600,
	} {
		info, err := os.Stat(filepath.Join(image, path))
		if assert.NoError(t, err) {
			assert.Equal(t, mode, info.Mode(), path)
		}
		assert.Equal(
			t, read(t, filepath.Join(root, "examples/thermostat", filepath.Base(path))),
			read(t, filepath.Join(image, path)), path,
		)
	}
}

// buildrootStub is what the package's makefile uses of Buildroot.
const buildrootStub = `
github = https://github.com/$(1)/$(2)/archive/$(3)
golang-package = $(eval EVALUATED = yes)
INSTALL = install
REHOME_THERMOSTAT_BUILD_OPTS =
BR2_EXTERNAL_REHOME_PATH = %
REHOME_THERMOSTAT_PKGDIR = $(BR2_EXTERNAL_REHOME_PATH)/package/rehome-thermostat
include $(BR2_EXTERNAL_REHOME_PATH)/external.mk
variables:
	@echo '$(REHOME_THERMOSTAT_VERSION)|$(REHOME_THERMOSTAT_SITE)|$(REHOME_THERMOSTAT_GOMOD)|$(REHOME_THERMOSTAT_BUILD_TARGETS)|$(REHOME_THERMOSTAT_TAGS)|$(REHOME_THERMOSTAT_BUILD_OPTS)|$(EVALUATED)'
install:
	$(foreach hook,$(REHOME_THERMOSTAT_POST_INSTALL_TARGET_HOOKS),$($(hook))$(newline))
	$(REHOME_THERMOSTAT_INSTALL_INIT_SYSTEMD)
	$(REHOME_THERMOSTAT_INSTALL_INIT_SYSV)
`

func TestTheBuildrootPackageIsOfThisTree(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip(err)
	}
	external, err := filepath.Abs(filepath.Join(root, buildroot))
	require.NoError(t, err)
	image := t.TempDir()
	make := func(target string, more ...string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), "make", append([]string{
			"-s", "--warn-undefined-variables", "-f", "-", target, "TARGET_DIR=" + image,
		}, more...)...)
		c.Dir = root // $(@D) is . for a target without a directory
		c.Stdin = strings.NewReader(strings.Replace(buildrootStub, "%", external, 1))
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	version := coming(t)
	assert.Equal(t, strings.Join([]string{
		version, "https://github.com/rehome-iot/rehome/archive/v" + version, module,
		"examples/thermostat", "nethttpomithttp2", "", "yes",
	}, "|"), make("variables", "BR2_PACKAGE_REHOME_THERMOSTAT_SMALL=", "newline="))
	small := make("variables", "BR2_PACKAGE_REHOME_THERMOSTAT_SMALL=y", "newline=")
	assert.Contains(t, small, "|-gcflags all=-l -gcflags crypto/...= -gcflags runtime/...=|")
	make("install", "BR2_PACKAGE_REHOME_THERMOSTAT_SMALL=", "newline=")
	assertInstalled(t, image)
	info, err := os.Stat(filepath.Join(image, "etc/init.d/S80thermostat"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o755), info.Mode())

	licence := sha256.Sum256([]byte(read(t, filepath.Join(root, "LICENSE"))))
	assert.Contains(t, read(t, filepath.Join(root, brPackage, "rehome-thermostat.hash")),
		"\nsha256  "+hex.EncodeToString(licence[:])+"  LICENSE\n")
	assert.Contains(t, read(t, filepath.Join(external, "external.desc")), "name: REHOME\n")
	assert.Contains(t, read(t, filepath.Join(external, "Config.in")),
		`source "$BR2_EXTERNAL_REHOME_PATH/package/rehome-thermostat/Config.in"`)
}

// kconfig is what a line of a menu's description may begin with.
var kconfig = regexp.MustCompile(`^(config [A-Z0-9_]+|\tbool ".+"|\tdepends on [A-Z0-9_]+|` +
	`\tselect [A-Z0-9_]+( # runtime)?|\thelp|\t  .*|if [A-Z0-9_]+|endif|)$`)

func TestTheBuildrootMenuIsKconfig(t *testing.T) {
	text := read(t, filepath.Join(root, brPackage, "Config.in"))
	for line := range strings.Lines(text) {
		assert.Regexp(t, kconfig, strings.TrimSuffix(line, "\n"))
		assert.LessOrEqual(t, len(strings.TrimSpace(line)), 72, line)
	}
	assert.Equal(t, strings.Count(text, "\nif "), strings.Count(text, "\nendif"))
	defined := regexp.MustCompile(`(?m)^config (\w+)`).FindAllStringSubmatch(text, -1)
	require.Len(t, defined, 2)
	for _, used := range regexp.MustCompile(`BR2_PACKAGE_REHOME\w+`).FindAllString(
		text+read(t, filepath.Join(root, brPackage, "rehome-thermostat.mk")), -1,
	) {
		assert.Contains(t, []string{defined[0][1], defined[1][1]}, used)
	}
}

// The init script keeps the program running, and hands it the signals.
func TestTheInitScriptRunsTheProgramAndStopsIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := read(t, filepath.Join(root, brPackage, "S80thermostat"))
	script = strings.ReplaceAll(script, "sleep 10", "sleep 0.01")
	script = strings.ReplaceAll(script, "/var/run/", dir+"/")
	// A machine that is busy comes to its next line late: no signal may be lost until then.
	script = strings.Replace(script, "thermostat &\n", "thermostat &\nsleep 0.2\n", 1)
	at := filepath.Join(dir, "S80thermostat")
	require.NoError(t, os.WriteFile(at, []byte(script), 0o700))
	told := filepath.Join(dir, "told")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "thermostat"), []byte(
		"#!/bin/sh\ntrap 'echo reload >>"+told+"' HUP\ntrap 'echo stop >>"+told+"; exit 0' TERM\n"+
			"echo start >>"+told+"\n[ -e "+dir+"/fail ] && rm "+dir+"/fail && exit 1\n"+
			"while :; do sleep 0.01; done\n",
	), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "fail"), nil, 0o600))
	// Whoever started the tests may ignore it, as nohup does, and so would the shell, for good.
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(hangUps) })
	c := exec.Command("sh", at, "run")
	c.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	require.NoError(t, c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	t.Cleanup(func() { _ = c.Process.Kill() })
	awaitTold := func(want string) {
		t.Helper()
		assert.Eventually(t, func() bool {
			text, _ := os.ReadFile(told)
			return string(text) == want
		}, time.Minute, 10*time.Millisecond, want)
	}
	awaitTold("start\nstart\n") // the first fails
	assert.NoError(t, c.Process.Signal(syscall.SIGHUP))
	awaitTold("start\nstart\nreload\n")
	assert.NoError(t, c.Process.Signal(syscall.SIGHUP))
	awaitTold("start\nstart\nreload\nreload\n")
	assert.NoError(t, c.Process.Signal(syscall.SIGTERM))
	awaitTold("start\nstart\nreload\nreload\nstop\n")
	assert.NoError(t, <-ended)
}

func TestScriptsOfPackagesAreShell(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(root, "docs/packaging/scripts/*.sh"))
	require.NoError(t, err)
	require.NotEmpty(t, found)
	for _, path := range append(found, filepath.Join(root, brPackage, "S80thermostat")) {
		out, err := exec.CommandContext(t.Context(), "sh", "-n", path).CombinedOutput()
		assert.NoError(t, err, "%s: %s", path, out)
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.NotZero(t, info.Mode()&0o111, "%s cannot be run", path)
	}
}

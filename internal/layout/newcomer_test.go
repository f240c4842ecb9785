// SPDX-License-Identifier: Apache-2.0

//go:build unix

package layout

import (
	"archive/zip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the first hour may ask of a newcomer, between the clone and the first message.
const (
	mostCommands = 15
	mostTime     = 10 * time.Minute
)

// The page of the first hour is run as it stands: from the clone to the first message of a program
// of one's own in the simulator's log. The clone and the module come from this very tree, by way of
// git's and Go's own settings, the ports are free ones, and the files are in a directory of the
// test.
func TestANewcomerSeesTheFirstMessage(t *testing.T) {
	if os.Getenv("REHOME_TESTS") != "all" {
		t.Skip("it compiles the library anew: CI plays it, with REHOME_TESTS=all")
	}
	t.Parallel()
	for _, tool := range []string{"bash", "git", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	var blocks []string
	typed := 0
	for _, page := range documents(t) {
		for _, b := range page.blocks {
			if page.name == newcomerPage && b.heading == newcomerHeading && b.language == "sh" {
				blocks = append(blocks, b.text)
				typed += len(commands(b.text))
			}
		}
	}
	require.Len(t, blocks, newcomerBlocks)
	assert.LessOrEqual(t, typed, mostCommands, "commands that a newcomer types")

	dir := t.TempDir()
	env := published(t, dir)
	others := strings.NewReplacer(
		"-https 8443", "-https 0", "-mqtt 8884", "-mqtt 0", "/tmp/", dir+"/",
	)
	desk := filepath.Join(dir, "desk")
	require.NoError(t, os.Mkdir(desk, 0o700))
	terminal := func(log, script string) (ended <-chan struct{}) {
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", others.Replace(script))
		cmd.Dir, cmd.Env = desk, env
		return startGroup(t, cmd, filepath.Join(dir, log))
	}

	begun := time.Now()
	ended := terminal("first.log", blocks[0])
	await(t, begun, ended, dir, "the exports of the simulator", func() bool {
		info, err := os.Stat(filepath.Join(dir, "sim.env"))
		return err == nil && info.Size() > 0
	})
	ready := time.Since(begun)
	ended = terminal("second.log", blocks[1]+blocks[2])
	await(t, begun, ended, dir, "the first message", func() bool {
		log := read(t, filepath.Join(dir, "first.log"))
		return strings.Contains(log, `msg="first message"`) && strings.Contains(log, "temperature")
	})
	own := read(t, filepath.Join(dir, "second.log")) // as the page says
	assert.Contains(t, own, "(from registration)")
	await(t, begun, ended, dir, "the acknowledgement", func() bool {
		return strings.Contains(read(t, filepath.Join(dir, "second.log")), "message acknowledged")
	})
	t.Logf(
		"%d commands; simulator ready after %v, first message after %v", typed,
		ready.Round(time.Second), time.Since(begun).Round(time.Second),
	)
	assert.Less(t, time.Since(begun), mostTime)
}

// published makes this tree what a stranger gets: a repository to clone, and a module to get. It
// returns the environment in which they are found under their public names.
func published(t *testing.T, dir string) (env []string) {
	t.Helper()
	origin, proxy := filepath.Join(dir, "origin"), filepath.Join(dir, "proxy")
	files := copyTree(t, origin)
	git := func(args ...string) {
		args = append([]string{"-C", origin, "-c", "user.name=t", "-c", "user.email=t@t"}, args...)
		out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	git("init", "-q")
	git("add", "-A", "-f")
	git("commit", "-q", "-m", "published")

	// As a proxy serves a module without a tag.
	// https://go.dev/ref/mod#goproxy-protocol
	const version = "v0.0.0-20260131000000-0123456789ab"
	at := filepath.Join(proxy, filepath.FromSlash(module), "@v")
	require.NoError(t, os.MkdirAll(at, 0o700))
	info := fmt.Sprintf(`{"Version":%q,"Time":"2026-01-31T00:00:00Z"}`, version)
	for name, text := range map[string]string{
		"../@latest": info, "list": "", version + ".info": info,
		version + ".mod": read(t, filepath.Join(root, "go.mod")),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(at, name), []byte(text), 0o600))
	}
	zipModule(t, filepath.Join(at, version+".zip"), module+"@"+version, origin, files)

	// What it imports comes from the module cache of this machine.
	runGo(t, nil, "list", "-m", "all") // has whatever a module that requires this one reads
	cached := strings.TrimSpace(string(runGo(t, nil, "env", "GOMODCACHE")))
	return append(
		os.Environ(), "GOMODCACHE="+filepath.Join(dir, "modules"),
		"GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -modcacherw"), "GOSUMDB=off",
		"GOPROXY=file://"+proxy+",file://"+filepath.Join(cached, "cache", "download"),
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=url."+origin+".insteadOf",
		"GIT_CONFIG_VALUE_0=https://"+module,
	)
}

// copyTree copies what git tracks, or would, and returns its names.
func copyTree(t *testing.T, to string) (files []string) {
	t.Helper()
	list := exec.CommandContext(
		t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard",
	)
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Skip("this tree is no clone: ", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil || !info.Mode().IsRegular() {
			continue // removed, and not committed yet
		}
		data, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(to, name), data, info.Mode().Perm()))
		files = append(files, name)
	}
	return files
}

// zipModule writes a module's zip file: all but the modules within.
// https://go.dev/ref/mod#zip-files
func zipModule(t *testing.T, file, prefix, tree string, files []string) {
	t.Helper()
	var nested []string
	for _, name := range files {
		if strings.HasSuffix(name, "/go.mod") {
			nested = append(nested, strings.TrimSuffix(name, "go.mod"))
		}
	}
	out, err := os.Create(file)
	require.NoError(t, err)
	defer out.Close()
	z := zip.NewWriter(out)
	for _, name := range files {
		within := func(dir string) bool { return strings.HasPrefix(name, dir) }
		if slices.ContainsFunc(nested, within) {
			continue
		}
		w, err := z.Create(prefix + "/" + name)
		require.NoError(t, err)
		_, err = w.Write([]byte(read(t, filepath.Join(tree, name))))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
}

// startGroup starts a shell and all that it will start, and ends them with the test. What they
// print goes to a file.
func startGroup(t *testing.T, cmd *exec.Cmd, log string) (ended <-chan struct{}) {
	t.Helper()
	file, err := os.Create(log)
	require.NoError(t, err)
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		<-done
	})
	return done
}

// await waits as long as a newcomer may, and shows what the terminals have printed if that is in
// vain, or the last of them has ended.
func await(
	t *testing.T, begun time.Time, ended <-chan struct{}, dir, what string, is func() bool,
) {
	t.Helper()
	for over := false; !is(); time.Sleep(50 * time.Millisecond) {
		select {
		case <-ended:
			over = true
		default:
		}
		if over || time.Since(begun) > mostTime {
			for _, log := range []string{"first.log", "second.log"} {
				text, _ := os.ReadFile(filepath.Join(dir, log))
				t.Logf("%s:\n%s", log, text)
			}
			require.Fail(t, "not in time: "+what)
		}
	}
}

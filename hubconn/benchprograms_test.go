// SPDX-License-Identifier: Apache-2.0

//go:build unix

package hubconn_test

import (
	"bufio"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/hubconn/testdata/bench/target"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// benchProgramsDir has the programs once they are built. TestMain removes it.
var benchProgramsDir string

// buildBenchPrograms builds the programs of testdata/bench stripped, as devices get theirs, and
// with or without cgo as the environment has it.
var buildBenchPrograms = sync.OnceValue(func() error {
	dir, err := os.MkdirTemp("", "rehome-bench")
	if err != nil {
		return err
	}
	benchProgramsDir = dir
	out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w",
		"-o", dir+string(filepath.Separator), "./testdata/bench/...").CombinedOutput()
	if err != nil {
		return errors.New(string(out))
	}
	return nil
})

// benchKey is the device's.
var benchKey = func() sasKey {
	key, _ := base64.StdEncoding.DecodeString(target.Key)
	return key
}()

// benchProgram is how to start one of these programs.
type benchProgram struct {
	name        string
	environment []string
}

// benchPrograms prepares the environment of the programs: a server, and a store that remembers the
// assignment to it, as a device has it at every boot but its first.
func benchPrograms(b *testing.B, server benchServer, settings ...string) func(string) benchProgram {
	require.NoError(b, buildBenchPrograms())
	token, err := benchKey.Token(
		b.Context(), target.Host+"/devices/"+target.DeviceID, time.Now().Add(time.Hour),
	)
	require.NoError(b, err)
	dir := b.TempDir()
	firstBoot(b, dir)
	environment := append(os.Environ(),
		target.Addr+"="+server.addr, target.Roots+"="+server.rootsPEM, target.Token+"="+token,
		target.Store+"="+dir,
	)
	environment = append(environment, settings...)
	return func(name string) benchProgram { return benchProgram{name, environment} }
}

// firstBoot registers the device with a simulated DPS; it remembers that in the directory. The
// simulated hub has the name of the server, so that one is where it goes from then on.
func firstBoot(tb testing.TB, dir string) {
	network := simnet.ForTest(tb)
	service := dpstest.New(network, dpstest.Config{
		IDScope: target.IDScope, RetryAfter: time.Second,
	})
	service.Link(hubtest.NewHub(network, target.Host))
	require.NoError(tb, service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: target.DeviceID, Attestation: dpstest.Keys(target.Key, ""),
	}))
	device := &provisioning.Device{
		IDScope:     target.IDScope,
		Attestation: dps.SymmetricKey{ID: target.DeviceID, Key: target.Key},
		Store:       cache.Dir(dir),
		DialContext: network.DialContext,
		TLSConfig:   network.TLSConfig(),
	}
	conn, err := device.Connect(tb.Context())
	require.NoError(tb, err)
	require.Equal(tb, hubconn.Hub{Host: target.Host, DeviceID: target.DeviceID}, conn.Hub())
	require.NoError(tb, conn.Close())
	// A connection that lasts leaves nothing to wait for.
	require.NoError(tb, cache.Dir(dir).PutWaits(tb.Context(), target.DeviceID, nil))
}

// running is a program that is connected.
type running struct {
	pid  int
	took time.Duration // from its start to CONNACK
	stop func()
}

func (p benchProgram) start(b *testing.B) running {
	cmd := exec.Command(filepath.Join(benchProgramsDir, p.name))
	cmd.Env, cmd.Stderr = p.environment, os.Stderr
	alive, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	start := time.Now()
	require.NoError(b, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	took := time.Since(start)
	stop := func() {
		_ = alive.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}
	if err != nil || line != "connected\n" {
		stop()
		b.Fatalf("%s does not connect: %q, %v", p.name, line, err)
	}
	return running{pid: cmd.Process.Pid, took: took, stop: stop}
}

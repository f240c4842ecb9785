// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// names lead to 127.0.0.1 where the tests run.
var names = []string{
	dpstest.GlobalEndpoint, "0ne00000001.azure-devices-provisioning.net", hostA, hostB,
	"hub-a.blob.core.windows.net", "hub-b.blob.core.windows.net",
}

const (
	hostA = "hub-a.azure-devices.net"
	hostB = "hub-b.azure-devices.net"
)

// missing is what the tests need and do not have.
var missing string

// withoutClients runs the tests where the official clients cannot run, and says so.
//
// go test keeps what a package prints that passes, on either output, to itself unless -v is set. Of
// its one line a package it takes a part from that output: "[no tests to run]", from the line
// below. That is true, and it is what a reader of go test ./... sees; why is in the output of -v.
func withoutClients(m *testing.M) (code int) {
	code = m.Run()
	if code == 0 && os.Getenv("REHOME_OFFICIAL_CLIENTS") != "required" {
		fmt.Printf("SKIPPED: %s\ntesting: warning: no tests to run\n", missing)
	}
	return code
}

// need skips the test where the official clients cannot run.
func need(t *testing.T) {
	t.Helper()
	switch {
	case missing == "":
	case os.Getenv("REHOME_OFFICIAL_CLIENTS") == "required":
		t.Fatalf("the official clients are required here: %s", missing)
	default:
		t.Skipf("SKIPPED: %s", missing)
	}
}

// world is the service on its own ports and under its own names.
type world struct {
	network *simnet.Network
	dps     *dpstest.Server
	a, b    *hubtest.Hub
}

func newWorld(t *testing.T, cfg dpstest.Config) *world {
	t.Helper()
	n, err := simnet.Listen(simnet.ListenConfig{
		HTTPSPort: 443, MQTTPort: 8883, AMQPPort: 5671,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = n.Close() })
	return newService(n, cfg)
}

func newService(n *simnet.Network, cfg dpstest.Config) *world {
	if cfg.RetryAfter == 0 {
		cfg.RetryAfter = time.Second // the least that can be said
	}
	w := &world{network: n, dps: dpstest.New(n, cfg)}
	w.a, w.b = hubtest.NewHub(n, hostA), hubtest.NewHub(n, hostB)
	w.dps.Link(w.a, w.b)
	return w
}

// key returns a key that looks like what it is, if it should ever be printed.
func key(name string) string {
	return base64.StdEncoding.EncodeToString([]byte("canary-key-" + name + "-0123456789"))
}

// driver is a process with clients in it, that takes commands: Node with the official ones, or
// Python with paho-mqtt.
type driver struct {
	t       *testing.T
	mu      sync.Mutex
	stdin   io.WriteCloser
	last    int
	pending map[int]chan reply
	ended   chan struct{}
}

type reply struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *clientError    `json:"error"`
}

// clientError is an error as a client reports it.
type clientError struct {
	Name    string `json:"name"`
	Message string `json:"message"`
	Status  int    `json:"status"`
	Body    string `json:"body"`
}

func (e *clientError) Error() string {
	return fmt.Sprintf("%s: %s (status %d, %s)", e.Name, e.Message, e.Status, e.Body)
}

type with = map[string]any

// newDriver starts Node. The clients trust the world's CA by the environment alone: they have no
// option for it.
func newDriver(t *testing.T, n *simnet.Network) *driver {
	t.Helper()
	return newDriverTrusting(t, n.CA().PEM())
}

func newDriverTrusting(t *testing.T, pem []byte) *driver {
	t.Helper()
	return startDriver(t, []string{
		"NODE_EXTRA_CA_CERTS=" + file(t, "ca.pem", pem), "NODE_NO_WARNINGS=1",
	}, "node", "driver.js")
}

// file writes a file that a client is to read.
func file(t *testing.T, name string, data []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// startDriver starts a program that takes commands.
func startDriver(t *testing.T, env []string, program string, args ...string) *driver {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "testdata"
	cmd.Env = append(os.Environ(), env...)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	d := &driver{t: t, stdin: stdin, pending: map[int]chan reply{}, ended: make(chan struct{})}
	go d.read(stdout)
	t.Cleanup(func() {
		_ = stdin.Close()
		stop := time.AfterFunc(patience, cancel)
		<-d.ended
		err := cmd.Wait()
		stop.Stop()
		cancel()
		if err != nil || stderr.Len() > 0 {
			t.Errorf("%s: %v\n%s", program, err, stderr.String())
		}
	})
	return d
}

func (d *driver) read(r io.Reader) {
	defer close(d.ended)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var got reply
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
			d.t.Errorf("a driver printed %q", lines.Text())
			continue
		}
		d.mu.Lock()
		ch := d.pending[got.ID]
		delete(d.pending, got.ID)
		d.mu.Unlock()
		if ch != nil {
			ch <- got
		}
	}
}

// patience is how long a client may take. The clients' own limits are shorter.
const (
	patience = 60 * time.Second
	tick     = 20 * time.Millisecond
)

// try carries a command out and returns the client's error.
func (d *driver) try(command string, args with, result any) error {
	d.mu.Lock()
	d.last++
	id, ch := d.last, make(chan reply, 1)
	d.pending[id] = ch
	line, err := json.Marshal(map[string]any{"id": id, "do": command, "with": args})
	if err == nil {
		_, err = d.stdin.Write(append(line, '\n'))
	}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case got := <-ch:
		if got.Error != nil {
			return got.Error
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(got.Result, result)
	case <-d.ended:
		return fmt.Errorf("the driver ended during %s", command)
	case <-time.After(patience):
		return fmt.Errorf("%s has not answered for %s", command, patience)
	}
}

// must carries a command out.
func (d *driver) must(t *testing.T, command string, args with, result any) {
	t.Helper()
	require.NoError(t, d.try(command, args, result), command)
}

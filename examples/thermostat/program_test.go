// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"crypto/tls"
	"crypto/x509"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/programtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// The tests build the program and run it against simulators on loopback sockets, as a person would.

const (
	hubA = "hub-a.azure-devices.net"
	hubB = "hub-b.azure-devices.net"
)

// Keys that must never be seen in what the program prints.
var (
	canaryKey      = base64.StdEncoding.EncodeToString([]byte("canary-device-key-0123456789-abc"))
	canaryNewKey   = base64.StdEncoding.EncodeToString([]byte("canary-new-key-0123456789-abcdef"))
	canaryGroupKey = base64.StdEncoding.EncodeToString([]byte("canary-group-key-0123456789-abcd"))
)

var program string // path of the built binary

// patience is how long a test waits for what takes milliseconds, or seconds at most, on a machine
// that has nothing else to do.
const patience = time.Minute

func TestMain(m *testing.M) {
	// The tests wait for programs more than they work. -parallel on the command line goes before.
	_ = flag.Set("test.parallel", "32")
	os.Exit(func() int {
		path, remove, err := programtest.Build("thermostat")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer remove()
		program = path
		return m.Run()
	}())
}

// site is one simulated cloud: DPS, two hubs, and what the program needs to reach them.
type site struct {
	network *simnet.Network
	dps     *dpstest.Server
	a, b    *hubtest.Hub
	dir     string // for files
}

func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteAt(t, simnet.ListenConfig{}, dpstest.Config{RetryAfter: time.Second})
}

func newSiteAt(t *testing.T, at simnet.ListenConfig, cfg dpstest.Config) *site {
	t.Helper()
	n, err := simnet.Listen(at)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Close()) })
	s := &site{
		network: n, a: hubtest.NewHub(n, hubA), b: hubtest.NewHub(n, hubB), dir: t.TempDir(),
		dps: dpstest.New(n, cfg),
	}
	s.dps.Link(s.a, s.b)
	s.write(t, "ca.pem", n.CA().PEM(), 0o644)
	return s
}

func (s *site) write(t *testing.T, name string, data []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	_ = os.Remove(path) // what is there may be read-only
	require.NoError(t, os.WriteFile(path, data, mode))
	require.NoError(t, os.Chmod(path, mode)) // whatever the umask
	return path
}

// enroll admits a device with the canary key.
func (s *site) enroll(t *testing.T, id string) {
	t.Helper()
	require.NoError(t, s.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: id, Attestation: dpstest.Keys(canaryKey, ""), IoTHubs: []string{hubA},
		AllocationPolicy: dpstest.PolicyStatic,
	}))
}

// network flags: the simulator on its own ports and with its own authority.
func (s *site) flags() []string {
	_, https, _ := net.SplitHostPort(s.network.HTTPSAddr())
	_, mqtt, _ := net.SplitHostPort(s.network.MQTTAddr())
	return []string{
		"-id-scope", s.dps.IDScope(), "-ca", filepath.Join(s.dir, "ca.pem"), "-interval", "100ms",
		"-connect-to", ":443:127.0.0.1:" + https, "-connect-to", ":8883:127.0.0.1:" + mqtt,
	}
}

// keyFlags are the flags of a device with the canary key and a store.
func (s *site) keyFlags(id string) []string {
	return append(
		s.flags(), "-registration-id", id, "-key", canaryKey, "-store",
		filepath.Join(s.dir, "store-"+id),
	)
}

// pemFiles writes a certificate and its key.
func (s *site) pemFiles(
	t *testing.T, name string, pair tls.Certificate, keyMode os.FileMode,
) (cert, key string) {
	t.Helper()
	var chain bytes.Buffer
	for _, der := range pair.Certificate {
		require.NoError(t, pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	return s.write(t, name+".pem", chain.Bytes(), 0o644), s.write(
		t, name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), keyMode,
	)
}

// process is the program, running.
type process struct {
	*programtest.Process
	t *testing.T
}

// launch starts the program with nothing in its environment but what is given.
func launch(t *testing.T, args []string, env ...string) *process {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = env
	if root, ok := os.LookupEnv("SystemRoot"); ok {
		cmd.Env = append(cmd.Env, "SystemRoot="+root) // Windows has no sockets without it
	}
	return &process{programtest.Start(
		t, cmd,
		canaryKey, canaryNewKey, canaryGroupKey, "PRIVATE KEY", "SharedAccessSignature",
	), t}
}

// record is one line of the log.
type record struct {
	Level, Msg, State, Hub, Source, Cause, Part string
	Wait                                        float64
	Method, Body, Properties, Class, Credential string
	MessageID                                   string `json:"message_id"`
	Status                                      int
	raw                                         string
}

func (p *process) records() (records []record, change <-chan struct{}) {
	lines, change := p.Lines()
	for _, line := range lines {
		r := record{raw: line}
		if json.Unmarshal([]byte(line), &r) == nil {
			records = append(records, r)
		}
	}
	return records, change
}

// await returns the first record from number from on that fits, and the number after it. It gives
// up after a while.
func (p *process) await(what string, from int, fits func(record) bool) (record, int) {
	deadline := time.After(patience)
	for {
		records, change := p.records()
		for i := from; i < len(records); i++ {
			if fits(records[i]) {
				return records[i], i + 1
			}
		}
		select {
		case <-change:
			continue
		case <-p.Ended:
			assert.Fail(p.t, "the program ended without: "+what, "code %d\n%s", p.Code, p.Stderr())
		case <-deadline:
			assert.Fail(p.t, "the program did not log: "+what, "%s", p.Stderr())
		}
		return record{}, len(records)
	}
}

func state(state string) func(record) bool {
	return func(r record) bool { return r.State == state }
}

// wait returns the exit code.
func (p *process) wait(limit time.Duration) int {
	select {
	case <-p.Ended:
		return p.Code
	case <-time.After(limit):
		assert.Fail(p.t, "the program did not end", "after %v\n%s", limit, p.Stderr())
		return -1
	}
}

func (p *process) signal(s os.Signal) { assert.NoError(p.t, p.Cmd.Process.Signal(s)) }

// stop asks the program to end, and checks that it does so in time and in good order.
func (p *process) stop() {
	if runtime.GOOS == "windows" {
		return // no signal to send; Cleanup ends it
	}
	p.signal(syscall.SIGTERM)
	// as who ends a whole process group does; it may be gone already
	_ = p.Cmd.Process.Signal(syscall.SIGTERM)
	// TestProgramGivesItselfLessThanThreeSecondsToEnd has the limit itself.
	assert.Equal(p.t, 0, p.wait(10*3*time.Second), "%s", p.Stderr())
	assert.Empty(p.t, p.Stdout.String(), "standard output is for -status and -version")
}

// together runs the cases at the same time: they wait more than they work.
func together[T any](t *testing.T, cases map[string]T, f func(t *testing.T, c T)) {
	t.Helper()
	var wg sync.WaitGroup
	for name, c := range cases {
		wg.Go(func() { t.Run(name, func(t *testing.T) { f(t, c) }) })
	}
	wg.Wait()
}

// eventually waits for something that happens outside the program.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	assert.Eventually(t, ok, patience, 10*time.Millisecond, what)
}

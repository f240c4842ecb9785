// SPDX-License-Identifier: Apache-2.0

package swtpm

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TPM is a TPM in software. It ends with its test.
type TPM struct {
	// Socket is the path of a socket that takes bare commands, of one user at a time. The one of
	// its control channel ends in ".ctrl", where the TCG's software stack looks for it.
	Socket string

	t       testing.TB
	dir     string
	process *exec.Cmd
	ended   chan error
	stderr  bytes.Buffer
}

// Start starts a new TPM, with seeds of its own.
func Start(t testing.TB) *TPM {
	t.Helper()
	Need(t, "swtpm")
	dir, err := os.MkdirTemp("", "swtpm") // that of the test may be too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	m := &TPM{Socket: filepath.Join(dir, "tpm"), t: t, dir: dir}
	t.Cleanup(func() {
		m.Stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	m.Resume()
	return m
}

// Need skips the test where a program is not installed.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("REHOME_TPM") == "required" {
				t.Fatalf("REHOME_TPM=required, and %v", err)
			}
			t.Skipf("NOT TESTED AGAINST A TPM: %v (Debian: swtpm, tpm2-tools)", err)
		}
	}
}

// patience is what a machine with little time to spare may need.
const patience = 20 * time.Second

// Resume starts it again, as the machine's next boot does.
func (m *TPM) Resume() {
	m.t.Helper()
	_ = os.Remove(m.Socket)
	m.stderr.Reset()
	m.process = exec.Command(
		"swtpm", "socket", "--tpm2", "--tpmstate", "dir="+m.dir, "--flags",
		"not-need-init,startup-clear", "--server", "type=unixio,path="+m.Socket,
		"--ctrl", "type=unixio,path="+m.Socket+".ctrl",
	)
	m.process.Stderr = &m.stderr
	if err := m.process.Start(); err != nil {
		m.t.Fatal(err)
	}
	ended := make(chan error, 1)
	m.ended = ended
	go func(c *exec.Cmd) { ended <- c.Wait() }(m.process)
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := errors.Join(reach(m.Socket), reach(m.Socket+".ctrl"))
		if err == nil {
			return
		}
		select {
		case err := <-ended:
			m.t.Fatalf("swtpm ended at once: %v: %s", err, &m.stderr)
		default:
		}
		if time.Since(began) > patience {
			m.t.Fatalf("swtpm does not listen: %v", err)
		}
	}
}

func reach(socket string) error {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	return nc.Close()
}

// Stop takes the power away; what is persistent stays.
func (m *TPM) Stop() {
	if m.process != nil {
		_ = m.process.Process.Kill()
		<-m.ended
		m.process = nil
	}
}

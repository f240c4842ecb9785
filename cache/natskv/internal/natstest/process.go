// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rehome-iot/rehome/cache/natskv/embedded"
)

// serverToBe is the environment variable that makes a process of a test's binary a server.
const serverToBe = "NATSTEST_SERVER"

const ready = "ready"

// Main is for the TestMain of a package that uses StartProcesses: in a process that is to be a
// server it runs that, and does not return.
func Main() {
	described := os.Getenv(serverToBe)
	if described == "" {
		return
	}
	var c config
	if err := json.Unmarshal([]byte(described), &c); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if _, err := embedded.Start(context.Background(), c.embedded(nil)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(ready)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test has ended, however it did
	os.Exit(0)
}

// A process is a server in a process of its own, which can be killed: it hands over nothing to the
// others, as one that stops does.
type process struct {
	command *exec.Cmd
	stdin   io.Closer
}

func startProcess(t *testing.T, c config) *process {
	t.Helper()
	described, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{command: exec.Command(os.Args[0])} // this very program
	p.command.Env = append(os.Environ(), serverToBe+"="+string(described))
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if strings.TrimSpace(line) != ready {
		_ = p.Close()
		t.Fatalf("the server does not start: %q, %v", line, err)
	}
	return p
}

// Close kills it.
func (p *process) Close() error {
	_ = p.command.Process.Kill()
	_ = p.stdin.Close()
	return p.command.Wait()
}

// SPDX-License-Identifier: Apache-2.0

package programtest

import (
	"bufio"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Process is a program that runs. It is safe for concurrent use.
type Process struct {
	Cmd    *exec.Cmd
	Stdout Output

	// Ended is closed when the program has ended and all of its output has been read. Code is its
	// exit status from then on.
	Ended chan struct{}
	Code  int

	mu     sync.Mutex
	lines  []string
	change chan struct{}
}

// Start starts the program. It is killed at the end of the test, if it runs still, and the test
// fails where it has said what is forbidden, such as a secret.
func Start(t testing.TB, cmd *exec.Cmd, forbidden ...string) *Process {
	t.Helper()
	p := &Process{Cmd: cmd, Ended: make(chan struct{}), change: make(chan struct{})}
	cmd.Stdout = &p.Stdout
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.Ended)
		p.read(stderr)
		_ = cmd.Wait()
		p.Code = cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.Ended
		said := p.Stdout.String() + p.Stderr()
		for _, text := range forbidden {
			if strings.Contains(said, text) {
				t.Errorf("the program has said %q:\n%s", text, said)
			}
		}
	})
	return p
}

func (p *Process) read(r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		p.mu.Lock()
		p.lines = append(p.lines, lines.Text())
		close(p.change)
		p.change = make(chan struct{})
		p.mu.Unlock()
	}
}

// Lines returns the lines of its standard error, and a channel that is closed with the next one.
func (p *Process) Lines() (lines []string, change <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines, p.change
}

// Stderr returns the lines of its standard error.
func (p *Process) Stderr() string {
	lines, _ := p.Lines()
	return strings.Join(lines, "\n")
}

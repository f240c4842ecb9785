// SPDX-License-Identifier: Apache-2.0

package programtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/programtest"
)

const speaks = "PROGRAMTEST_SPEAKS"

// In a process with that variable, the test's binary is the program.
func TestMain(m *testing.M) {
	if os.Getenv(speaks) != "" {
		fmt.Println("on standard output")
		fmt.Fprintln(os.Stderr, "a line\nanother")
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// verdict is a test that only notes whether it has failed, and what it does at its end.
type verdict struct {
	testing.TB
	failed bool
	end    []func()
}

func (v *verdict) Helper()               {}
func (v *verdict) Errorf(string, ...any) { v.failed = true }
func (v *verdict) Cleanup(f func())      { v.end = append(v.end, f) }

func TestWhatAProgramSaysIsReadAndWhatIsForbiddenFailsTheTest(t *testing.T) {
	for forbidden, fails := range map[string]bool{
		"another": true, "standard output": true, "something else": false,
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), speaks+"=1")
		v := &verdict{TB: t}
		p := programtest.Start(v, cmd, forbidden)
		select {
		case <-p.Ended:
		case <-time.After(time.Minute):
			require.Fail(t, "it does not end")
		}
		require.Equal(t, 3, p.Code)
		lines, change := p.Lines()
		assert.Equal(t, []string{"a line", "another"}, lines)
		assert.Equal(t, strings.Join(lines, "\n"), p.Stderr())
		assert.Equal(t, "on standard output\n", p.Stdout.String())
		select {
		case <-change:
			assert.Fail(t, "there is no other line")
		default:
		}
		for _, f := range v.end {
			f()
		}
		assert.Equal(t, fails, v.failed, forbidden)
	}
}

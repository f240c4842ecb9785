// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stateSize is that of some 5,000 devices.
const stateSize = 8 << 20

// A process that writes states without a pause is killed again and again. What is in the file is
// always one that it wrote, whole.
func TestAStateIsNeverTornByAKill(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	require.NoError(t, replace(file, bytes.Repeat([]byte("z"), stateSize)))
	seen := map[byte]int{}
	for range 25 {
		c := exec.Command(os.Args[0], "-test.run=^TestWriteStatesUntilKilled$")
		c.Env = append(os.Environ(), "REHOME_STATE_WRITER="+file)
		out, err := c.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		_, err = io.ReadFull(out, make([]byte, 1+rand.N(3))) // it has written as many
		require.NoError(t, err)
		time.Sleep(rand.N(40 * time.Millisecond))
		require.NoError(t, c.Process.Kill())
		_ = c.Wait()
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, stateSize, len(data))
		require.Equal(t, stateSize, bytes.Count(data, data[:1]), "of two states")
		seen[data[0]]++
	}
	t.Logf("seen: %v", seen)
	require.Greater(t, len(seen), 1, "only the first state was ever seen")
}

func TestWriteStatesUntilKilled(t *testing.T) {
	file := os.Getenv("REHOME_STATE_WRITER")
	if file == "" {
		t.Skip("it is the process that another test kills")
	}
	for i := 0; ; i++ {
		data := bytes.Repeat([]byte{byte('a' + i%26)}, stateSize)
		if err := replace(file, data); err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.Write([]byte("\n"))
	}
}

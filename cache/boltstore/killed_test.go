// SPDX-License-Identifier: Apache-2.0

package boltstore_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/boltstore"
)

const killedStore = "BOLTSTORE_TEST_KILLED"

const killedDevices = 8

// TestKilledProgram is what the other test kills. Each of its devices stores one value after the
// other, and waits, and says so.
func TestKilledProgram(t *testing.T) {
	file := os.Getenv(killedStore)
	if file == "" {
		t.Skip("runs in a process of its own")
	}
	s := open(t, file)
	var all sync.WaitGroup
	var out sync.Mutex
	for d := range killedDevices {
		all.Go(func() {
			key := fmt.Sprint("device-", d)
			last := 0
			if data, err := s.Get(t.Context(), key); err == nil {
				fmt.Sscan(string(data), &last)
			}
			for {
				last++
				value := fmt.Sprint(last, strings.Repeat(" padding", last%300))
				if err := s.Put(t.Context(), key, []byte(value)); err != nil {
					t.Error(err)
					return
				}
				if err := s.PutWaits(t.Context(), key, []byte(value)); err != nil {
					t.Error(err)
					return
				}
				out.Lock()
				fmt.Println("stored", d, last)
				out.Unlock()
			}
		})
	}
	all.Wait()
}

// However often the process is killed, whatever it had stored is there, or what it was storing.
func TestAKillLosesNothingThatWasStored(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dir", "store.db")
	kills := 20
	if os.Getenv("REHOME_TESTS") == "kills" {
		kills = 1000
	}
	var known, waited [killedDevices]int // the last that is known to have been stored
	for range kills {
		command := exec.Command(os.Args[0], "-test.run=^TestKilledProgram$")
		command.Env = append(os.Environ(), killedStore+"="+file)
		out, err := command.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, command.Start())
		// From its first moment on, also while it makes or opens the file.
		kill := time.AfterFunc(rand.N(60*time.Millisecond), func() { _ = command.Process.Kill() })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var d, n int
			if _, err := fmt.Sscanf(lines.Text(), "stored %d %d", &d, &n); err == nil {
				known[d], waited[d] = n, n
			}
		}
		kill.Stop()
		require.Error(t, command.Wait(), "it ended by itself")

		s := &boltstore.Store{Path: file}
		require.NoError(t, s.Open())
		for d := range known {
			key := fmt.Sprint("device-", d)
			data, err := s.Get(t.Context(), key)
			if known[d] == 0 && err != nil {
				continue
			}
			require.NoError(t, err)
			n := 0
			_, err = fmt.Sscan(string(data), &n)
			require.NoError(t, err)
			assert.Contains(t, []int{known[d], known[d] + 1}, n, key)
			assert.Equal(t, fmt.Sprint(n, strings.Repeat(" padding", n%300)), string(data), "torn")
			known[d] = n
			if waits, _, err := s.GetWaits(t.Context(), key); err == nil {
				_, err := fmt.Sscan(string(waits), &n)
				require.NoError(t, err)
				assert.GreaterOrEqual(t, n, waited[d], key)
				assert.LessOrEqual(t, n, known[d], key)
			}
		}
		require.NoError(t, s.Close())
	}
	t.Logf("%d kills, %v values stored, none lost and none torn", kills, known)
}

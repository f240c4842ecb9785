// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/rehome-iot/rehome/internal/jitter"
)

// entropyOf is what the system gives the n-th process of a device.
func entropyOf(device, n int) (e jitter.Entropy) {
	binary.BigEndian.PutUint64(e[:], uint64(device))
	binary.BigEndian.PutUint64(e[8:], uint64(n))
	return e
}

// system is the machine's entropy, in place of some of which a test may put its own.
var system = &entropy{machine: rand.Reader}

type entropy struct {
	machine io.Reader
	mu      sync.Mutex
	next    *jitter.Entropy
}

// give has whoever reads so much next get this.
func (s *entropy) give(e jitter.Entropy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = &e
}

// taken says that somebody has.
func (s *entropy) taken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next == nil
}

func (s *entropy) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil || len(b) != len(s.next) {
		return s.machine.Read(b)
	}
	n := copy(b, s.next[:])
	s.next = nil
	return n, nil
}

// Once, before anything runs that reads of it: what changes it later races with that.
func TestMain(m *testing.M) {
	rand.Reader = system
	os.Exit(m.Run())
}

// SPDX-License-Identifier: Apache-2.0

package boltstore

// HoldCommits lets changes gather until it is released.
func (s *Store) HoldCommits() (release func()) {
	s.queue.committing.Lock()
	return s.queue.committing.Unlock
}

// Waiting is how many changes wait for a commit.
func (s *Store) Waiting() int {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return len(s.queue.waiting)
}

// SPDX-License-Identifier: Apache-2.0

package natskv

import (
	"cmp"
	"sync"
	"time"
)

// silence is since when no server has answered a Store, for all of its calls together: thousands of
// devices that wait one after the other do not wait for the whole time each.
type silence struct {
	mu    sync.Mutex
	since time.Time // when the first call of those that nobody answered was begun; zero: none
	err   error     // that of the last one
}

func (s *silence) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.err = time.Time{}, nil
}

// noted takes in that nobody has answered a call that was begun then. It returns until when the
// call may be repeated.
func (s *silence) noted(began time.Time, patience time.Duration, err error) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = began
	}
	s.err = err
	until := began.Add(patience)
	if shared := s.since.Add(patience); shared.Before(until) {
		until = shared
	}
	if least := began.Add(min(patience, outOfPatience)); until.Before(least) {
		until = least
	}
	return until
}

// Away returns why no server answers, and since when. It is nil while they do, and before the first
// call: nobody is asked. A Device that is started meanwhile waits for them as Patience says.
func (s *Store) Away() (since time.Time, err error) {
	s.silence.mu.Lock()
	defer s.silence.mu.Unlock()
	return s.silence.since, s.silence.err
}

func (s *Store) patience() time.Duration { return cmp.Or(max(s.Patience, 0), DefaultPatience) }

// CallTimeout tells a Device for how long to wait for a call. What the Store itself gives up ends a
// little earlier, with its error.
func (s *Store) CallTimeout() time.Duration {
	return max(s.patience(), longestWrite) + longestTry + outOfPatience
}

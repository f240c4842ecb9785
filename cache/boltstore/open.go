// SPDX-License-Identifier: Apache-2.0

package boltstore

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/rehome-iot/rehome/internal/onefile"
)

var (
	errNoPath   = errors.New("no path")
	errNegative = errors.New("a negative time")
)

// retryAfter is for how long a file that could not be opened is left alone: thousands of devices
// ask for it, and each would wait for the lock.
const retryAfter = time.Second

// Open opens the file, which the first call of another method does as well: a program that opens it
// first can end with the error. A file that can be read and not written is no error, but of each
// Put. It is idempotent.
func (s *Store) Open() error {
	if err := s.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retryAt = time.Time{}
	err := s.openLocked(true)
	if s.usable(false) {
		return nil
	}
	return err
}

// Close waits for those who use the file, and closes it. A later call fails. It is idempotent.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	db := s.db
	s.db, s.failed = nil, errClosed
	if db == nil || s.queue.damage() != nil { // which holds locks that nobody gives back
		return nil
	}
	if err := db.Close(); err != nil {
		return s.fail("close", "", err)
	}
	return nil
}

// use calls operation with the open file. What the database or the memory that it maps cannot do
// because the file is damaged, or was cut short by somebody else, is an error and no panic.
func (s *Store) use(write bool, operation func(*bolt.DB) error) error {
	db, release, err := s.acquire(write)
	if err != nil {
		return err
	}
	defer release()
	damage, err := onefile.Guard(func() error { return operation(db) })
	if damage != nil {
		s.queue.setDamage(damage)
		return s.fail("open", "", damage)
	}
	return err
}

// acquire returns the open file, which stays open until it is released.
func (s *Store) acquire(write bool) (db *bolt.DB, release func(), err error) {
	s.mu.RLock()
	if s.usable(write) {
		return s.db, s.mu.RUnlock, nil
	}
	s.mu.RUnlock()
	if err := s.Validate(); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	err = s.openLocked(write)
	s.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	s.mu.RLock()
	if !s.usable(write) { // closed just now
		s.mu.RUnlock()
		return nil, nil, errClosed
	}
	return s.db, s.mu.RUnlock, nil
}

// usable says that the file is open, and well; mu is held.
func (s *Store) usable(write bool) bool {
	return s.db != nil && !(write && s.readOnly) && s.queue.damage() == nil
}

// openLocked opens the file if it is not open as it is wanted; mu is held.
func (s *Store) openLocked(write bool) error {
	if damage := s.queue.damage(); damage != nil {
		return s.fail("open", "", damage)
	}
	switch {
	case s.usable(write):
		return nil
	case errors.Is(s.failed, errClosed):
		return errClosed
	case s.failed != nil && time.Now().Before(s.retryAt):
		return s.failed
	}
	if s.db != nil { // for reading: perhaps it can be written by now
		_ = s.db.Close()
		s.db = nil
	}
	err := s.openFile()
	s.failed, s.retryAt = nil, time.Now().Add(retryAfter)
	if err != nil {
		s.failed = s.fail("open", "", err)
	}
	if s.db != nil && !(write && s.readOnly) {
		return nil
	}
	return s.failed
}

// openFile sets db, and readOnly with the reason as the error where the file cannot be written.
func (s *Store) openFile() error {
	err := onefile.Create(s.Path, func(temporary string) error {
		db, err := s.openBolt(temporary, false)
		if err != nil {
			return err
		}
		return db.Close()
	})
	if err != nil {
		return err
	}
	db, err := s.openBolt(s.Path, false)
	if err == nil {
		s.db, s.readOnly = db, false
		return nil
	}
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		if db, readErr := s.openBolt(s.Path, true); readErr == nil {
			s.db, s.readOnly = db, true
		}
	}
	return err
}

// openBolt opens a database. A file that is so damaged that the database panics is closed again.
func (s *Store) openBolt(path string, readOnly bool) (*bolt.DB, error) {
	return onefile.Open(func(
		openFile func(path string, flag int, perm fs.FileMode) (*os.File, error),
	) (*bolt.DB, error) {
		return bolt.Open(path, 0o600, &bolt.Options{
			Timeout: cmp.Or(s.Timeout, time.Second), ReadOnly: readOnly, OpenFile: openFile,
		})
	})
}

// SPDX-License-Identifier: Apache-2.0

package boltstore

import (
	"bytes"
	"context"
	"errors"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// A change is one Put or Delete.
type change struct {
	name  []byte
	value []byte // nil: deletes
	done  bool   // it is committed, or has failed
	err   error
}

// A queue holds the changes that wait for the next commit. While one commit is under way those that
// arrive gather, and the first of their callers commits them all: so it is the medium that says how
// many go together, and one alone does not wait for others.
type queue struct {
	committing sync.Mutex // held by whoever commits; guards done and err of every change

	mu      sync.Mutex
	waiting []*change
	broken  error // the database is inconsistent: it is not touched any more
}

func (q *queue) add(c *change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, c)
}

// take returns all that wait.
func (q *queue) take() []*change {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.waiting
	q.waiting = nil
	return all
}

func (q *queue) damage() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.broken
}

func (q *queue) setDamage(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.broken = err
}

// change makes one change, and those of others that wait.
func (s *Store) change(ctx context.Context, op, key string, value []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c := &change{name: keyOf(key), value: value}
	s.queue.add(c)
	s.queue.committing.Lock()
	defer s.queue.committing.Unlock()
	if !c.done {
		all := s.queue.take()
		err := s.use(true, func(db *bolt.DB) error { return commit(db, all) })
		for _, c := range all {
			c.done, c.err = true, err
		}
	}
	if c.err != nil {
		return s.fail(op, key, c.err)
	}
	return nil
}

var errUnchanged = errors.New("unchanged")

// commit writes changes in one transaction, in the order in which they came. What is there already
// is not written again: flash wears out.
func commit(db *bolt.DB, all []*change) error {
	err := db.Update(func(tx *bolt.Tx) error {
		changed := false
		b := tx.Bucket(entries)
		for _, c := range all {
			switch {
			case c.value == nil && b == nil:
				continue
			case b == nil:
				created, err := tx.CreateBucket(entries)
				if err != nil {
					return err
				}
				b = created
			}
			old := b.Get(c.name)
			if bytes.Equal(old, c.value) && (old == nil) == (c.value == nil) {
				continue
			}
			changed = true
			var err error
			if c.value == nil {
				err = b.Delete(c.name)
			} else {
				err = b.Put(c.name, c.value)
			}
			if err != nil {
				return err
			}
		}
		if !changed {
			return errUnchanged
		}
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

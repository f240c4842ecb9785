// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"io/fs"
	"os"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/rehome-iot/rehome/internal/onefile"
)

// A database is the open file. What bbolt, or the memory that it maps, cannot do because the file
// is damaged is an error and no panic.
type database struct {
	mu sync.RWMutex // held for reading by those who use it
	db *bolt.DB     // nil: it is closed

	damageMu sync.Mutex
	damage   error // after it nothing is touched any more
}

// openBolt opens a database. One that is so damaged that bbolt panics is closed again.
func openBolt(path string, timeout time.Duration) (*bolt.DB, error) {
	return onefile.Open(func(
		openFile func(path string, flag int, perm fs.FileMode) (*os.File, error),
	) (*bolt.DB, error) {
		return bolt.Open(path, 0o600, &bolt.Options{Timeout: timeout, OpenFile: openFile})
	})
}

func (d *database) view(read func(*bolt.Tx) error) error {
	return d.use(func(db *bolt.DB) error { return db.View(read) })
}

func (d *database) update(write func(*bolt.Tx) error) error {
	return d.use(func(db *bolt.DB) error { return db.Update(write) })
}

func (d *database) use(operation func(*bolt.DB) error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.db == nil {
		return ErrClosed
	}
	if damage := d.damaged(); damage != nil {
		return damage
	}
	damage, err := onefile.Guard(func() error { return operation(d.db) })
	if damage != nil {
		d.damageMu.Lock()
		defer d.damageMu.Unlock()
		d.damage = damage
		return damage
	}
	return err
}

func (d *database) damaged() error {
	d.damageMu.Lock()
	defer d.damageMu.Unlock()
	return d.damage
}

// close waits for those who use it. A damaged one may hold locks that nobody gives back, and is
// left as it is.
func (d *database) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	db := d.db
	d.db = nil
	if db == nil || d.damaged() != nil {
		return nil
	}
	return db.Close()
}

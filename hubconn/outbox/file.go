// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/rehome-iot/rehome/internal/onefile"
)

// The buckets of a file, and the keys of its settings. The messages of all devices are in one
// bucket, so that a commit writes few pages however many devices have something to say.
var (
	bucketSettings = []byte("settings")
	bucketDevices  = []byte("devices")  // the number of each, by its ID
	bucketMessages = []byte("messages") // its sequence numbers are the messages'

	keyFormat = []byte("format")
	keyID     = []byte("id")
	keyFloor  = []byte("floor") // see ages
)

const (
	format = 1
	// fillPercent is how full a page is made: messages come in their order.
	fillPercent = 0.9
)

var errNewer = errors.New("it was made by a newer version")

// File is the file that keeps the messages of one device or of many, made by [Open]. Its methods
// are safe for concurrent use.
type File struct {
	path    string
	options Options
	db      database
	id      string // in the IDs of messages
	wake    chan struct{}
	closing chan struct{}
	done    chan struct{} // the committer has ended

	durable atomic.Uint64 // the sequence number up to which the file is on the medium

	mu       sync.Mutex
	boxes    map[string]*Outbox
	pending  []*put
	ended    map[*Outbox]struct{} // those with messages to be removed
	removals int                  // how many
	since    time.Time            // when the first of them ended
	closed   bool
	stats    FileStats
	ages     ages
}

// Open opens a file, and makes it if it is absent, readable by its owner only, and its directory if
// that is absent; the parent of that must exist. One process has it at a time, once. The error is
// an *Error. Close it.
func Open(path string, o Options) (*File, error) {
	o, err := o.check(path)
	if err != nil {
		return nil, err
	}
	f := &File{
		path: path, options: o, wake: make(chan struct{}, 1), closing: make(chan struct{}),
		done: make(chan struct{}), boxes: map[string]*Outbox{}, ended: map[*Outbox]struct{}{},
	}
	if err := f.open(); err != nil {
		return nil, explained("open", path, "", err)
	}
	go f.commitAll()
	return f, nil
}

func (f *File) open() error {
	err := onefile.Create(f.path, func(temporary string) error {
		db, err := openBolt(temporary, f.options.Timeout)
		if err != nil {
			return err
		}
		return errors.Join(db.Update(initialise), db.Close())
	})
	if err != nil {
		return err
	}
	db, err := openBolt(f.path, f.options.Timeout)
	if err != nil {
		return err
	}
	f.db.db = db
	// What a process that was killed has written and not synced shows, and could yet be lost.
	if err := db.Sync(); err != nil {
		_ = db.Close()
		return err
	}
	if err := f.db.view(f.readSettings); err != nil {
		_ = f.db.close()
		return err
	}
	return nil
}

// initialise makes what every file has.
func initialise(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketDevices, bucketMessages} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	b, err := tx.CreateBucket(bucketSettings)
	if err != nil {
		return err
	}
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails
	if err := b.Put(keyID, []byte(hex.EncodeToString(id))); err != nil {
		return err
	}
	return b.Put(keyFormat, []byte{format})
}

func (f *File) readSettings(tx *bolt.Tx) error {
	b := tx.Bucket(bucketSettings)
	switch {
	case b == nil, tx.Bucket(bucketDevices) == nil, tx.Bucket(bucketMessages) == nil:
		return fmt.Errorf("%w (it is a database of another kind)", ErrDamaged)
	case len(b.Get(keyFormat)) != 1:
		return fmt.Errorf("%w (it has no format)", ErrDamaged)
	case b.Get(keyFormat)[0] > format:
		return errNewer
	}
	f.id = string(b.Get(keyID))
	f.durable.Store(tx.Bucket(bucketMessages).Sequence())
	f.ages = newAges(f.options.Now, b.Get(keyFloor))
	return nil
}

// Outbox returns the outbox of a device, or of a module under a name such as "device/module". A
// program that has one device may call it by any name, but always the same. The error is an *Error.
func (f *File) Outbox(device string) (*Outbox, error) {
	if device == "" || len(device) > longestDevice {
		return nil, &Error{
			Op: "open", Path: f.path, Err: errOption, Problem: fmt.Sprintf(
				"outbox file %s: the device's name has %d bytes: use 1 to %d", f.path, len(device),
				longestDevice,
			),
		}
	}
	f.mu.Lock()
	o := f.boxes[device]
	f.mu.Unlock()
	if o != nil {
		return o, nil
	}
	o = &Outbox{
		file: f, device: device, arrived: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		lanes: [lanes]laneState{newLaneState(), newLaneState()},
	}
	// Nothing of the device's changes meanwhile: nobody has its outbox yet.
	if err := f.db.view(o.count); err != nil {
		return nil, explained("open", f.path, device, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if other := f.boxes[device]; other != nil {
		return other, nil
	}
	f.boxes[device] = o
	return o, nil
}

const longestDevice = 1024

// numberOf is a device's number; 0 is none.
func numberOf(tx *bolt.Tx, device string) uint32 {
	if n := tx.Bucket(bucketDevices).Get([]byte(device)); len(n) == 4 {
		return binary.BigEndian.Uint32(n)
	}
	return 0
}

func numberBytes(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// Devices lists the devices that the file has had messages of. Those whose Stats tell of kept ones
// have to be delivered yet.
func (f *File) Devices() ([]string, error) {
	var devices []string
	err := f.db.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketDevices).ForEach(func(id, _ []byte) error {
			devices = append(devices, string(id))
			return nil
		})
	})
	if err != nil {
		return nil, explained("read", f.path, "", err)
	}
	return devices, nil
}

// Stats returns the file's numbers.
func (f *File) Stats() FileStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	if info, err := os.Stat(f.path); err == nil {
		s.Size = info.Size()
	}
	return s
}

// Close commits what is acknowledged, and closes the file. Every Deliver has to have returned, or
// what it learns is lost. Later calls fail. It is idempotent.
func (f *File) Close() error {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.closing)
	}
	f.mu.Unlock()
	<-f.done
	if err := f.db.close(); err != nil {
		return explained("close", f.path, "", err)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package onefile

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/rehome-iot/rehome/internal/boltpages"
)

// Open opens a bbolt database. open does, and has the database open its file by openFile. One that
// is so damaged that it panics, or that would read for ever, is closed again.
func Open[DB io.Closer](
	open func(openFile func(path string, flag int, perm fs.FileMode) (*os.File, error)) (DB, error),
) (db DB, err error) {
	var file *os.File
	damage, err := Guard(func() (err error) {
		db, err = open(func(path string, flag int, perm fs.FileMode) (*os.File, error) {
			opened, err := os.OpenFile(path, flag, perm)
			file = opened
			return opened, err
		})
		return err
	})
	var none DB
	if damage != nil {
		_ = file.Close() // and with it the lock
		return none, damage
	}
	if err == nil {
		if err = checkPages(file); err != nil {
			_ = db.Close()
			return none, err
		}
	}
	return db, err
}

// checkPages finds what would have the database read for ever.
func checkPages(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := boltpages.Check(file, info.Size()); err != nil {
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	return nil
}

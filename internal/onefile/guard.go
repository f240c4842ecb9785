// SPDX-License-Identifier: Apache-2.0

package onefile

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrDamaged is in the tree of what Guard returns as damage.
var ErrDamaged = errors.New("damaged")

// Guard calls operation, which uses a database whose file is mapped into memory. A panic of the
// database, and a fault in what is mapped, are damage: the file is not as it was written, or
// somebody has cut it short. After that the database may hold locks that nobody gives back, so it
// is not to be used any more.
func Guard(operation func() error) (damage, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if _, fault := p.(interface{ Addr() uintptr }); fault { // see debug.SetPanicOnFault
			p = "a part of it is missing, or cannot be read"
		}
		if p != nil {
			damage = fmt.Errorf("%w (%v)", ErrDamaged, p)
		}
	}()
	return nil, operation()
}

// SPDX-License-Identifier: Apache-2.0

// Package cache is where a device keeps what it has learned, so that the next
// boot need not request it again.
//
// A [Store] has the shape of autocert's Cache: Get, Put and Delete of small
// values by key. [Dir] keeps each in a file that a power cut leaves old or new and
// never torn, [Memory] keeps them until the process ends.
//
//	store := cache.Dir("/var/lib/sensor")
//	data, err := store.Get(ctx, "assignment")
//	switch {
//	case errors.Is(err, cache.ErrMiss):
//		// first boot, or after a factory reset
//	case err != nil:
//		return err
//	}
//
// What a device has been told to wait for has to outlive a crash, but not the run of
// the machine. A [WaitStore] keeps that too, without fsync and with its age: Dir in
// the runtime directory, /run/rehome, if the system has one, so that a program that
// crashes over and over writes no flash, and otherwise beside the entry.
//
// Package cachetest checks an implementation of your own.
//
// It is not a database and not a vault: values are limited to [MaxSize], and
// whoever may read the directory may read them. What must not be forged has to be
// sealed before it is stored; what must not be read does not belong here.
//
// # File names
//
// In a Dir, lower-case letters, digits, dot, underscore and hyphen of a key stand
// for themselves; every other byte is a percent sign and two hexadecimal digits
// ("Sensor/1" is "%53ensor%2f1"). A name that would be hidden, reserved or longer
// than 100 bytes is escaped or ends in a hash. Different keys have different
// files, on file systems that fold letter case too. Waits beside an entry are in the
// file of its name and "=waits".
package cache

// SPDX-License-Identifier: Apache-2.0

// Package atomicfile replaces a file so that a power cut at any moment leaves
// the old content or the new, and so that the new content is on the medium once
// the call has returned nil.
//
//	if err := atomicfile.Write("/var/lib/sensor/assignment", data, 0o600); err != nil {
//		return err
//	}
//
// The order is what gives the guarantee: a temporary file in the same directory
// is created exclusively, written, fsynced and closed; it is renamed over the
// target; the directory is fsynced. Without the first fsync the rename may reach
// the medium before the data does, without the second the old file may come back
// after Write said it was replaced.
//
// [WriteNoSync] keeps the first half of this order alone, for content that need
// survive no more than the process.
//
// A process that is killed leaves at most its temporary file, ".NAME.tmp" and 16
// hexadecimal digits; the next Write to or Remove of that name deletes it.
//
// All access goes through [FS], so that tests can fail any single operation and
// enumerate what a crash could leave behind.
//
// It is not a lock: of two writers the last to rename wins, each file whole. It
// is no help against a medium that acknowledges a flush it has not done.
package atomicfile

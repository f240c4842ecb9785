// SPDX-License-Identifier: Apache-2.0

package provisioning

import "time"

// BuiltAt makes the program one that was built at a time, or, if that is zero, one that does not
// know when, until undo is called. Devices that exist keep theirs.
func BuiltAt(at time.Time) (undo func()) {
	before := buildTime
	if buildTime = ""; !at.IsZero() {
		buildTime = at.UTC().Format(time.RFC3339)
	}
	return func() { buildTime = before }
}

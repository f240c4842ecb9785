// SPDX-License-Identifier: Apache-2.0

// Package boundedlog keeps the newest entries of a log that never ends, within a number of entries
// and of bytes, and gives them out by position, so that a reader copies only what is new.
//
//	log := boundedlog.New(func(r *Request) int { return len(r.Payload) })
//	at := log.Append(request)
//	log.Update(at, func(r *Request) { r.Status = 200 }) // if it is still there
//	entries, next := log.From(next)                     // what came since the last time
//
// It is not safe for concurrent use: whoever has a log has a lock for it.
package boundedlog

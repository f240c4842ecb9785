// SPDX-License-Identifier: Apache-2.0

// Package bucket is a NATS key-value bucket as this module uses it: made if it is not there, read
// from its leader, with keys that may be any string and writes that compare revisions.
package bucket

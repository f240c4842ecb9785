// SPDX-License-Identifier: Apache-2.0

// Package smalldisk has a test run on a real file system that is small, and that can become
// read-only. It works on Linux alone.
package smalldisk

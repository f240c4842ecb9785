// SPDX-License-Identifier: Apache-2.0

// Package programtest builds a program and runs it, for tests that use it as a person would: its
// standard error is a log, which is read while it is written.
package programtest

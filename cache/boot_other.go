// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package cache

// readBootTime cannot say: there is no clock to be read that nobody sets and that
// tells two runs of the machine apart.
func readBootTime() bootTime { return bootTime{} }

// usableRuntimeDir finds none: /run is Linux's.
func usableRuntimeDir() (path string, ok bool) { return "", false }

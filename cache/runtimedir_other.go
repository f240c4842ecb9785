// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package cache

// usableRuntimeDir finds none: /run is Linux's.
func usableRuntimeDir() (path string, ok bool) { return "", false }

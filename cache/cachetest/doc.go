// SPDX-License-Identifier: Apache-2.0

// Package cachetest checks that an implementation of [cache.Store], and of
// [cache.WaitStore] if it is one, keeps the promises a device relies on.
//
//	func TestStore(t *testing.T) {
//		cachetest.Run(t, func(t *testing.T) cache.Store {
//			return flashstore.Open(t.TempDir())
//		})
//	}
//
// It does not check what happens when the power fails or the program is killed:
// only the implementation knows how to ask that of its medium.
package cachetest

// SPDX-License-Identifier: Apache-2.0

package cachetest_test

import (
	"testing"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/cachetest"
)

func ExampleRun() {
	// In a file that ends in _test.go:
	_ = func(t *testing.T) {
		cachetest.Run(t, func(t *testing.T) cache.Store {
			return cache.Dir(t.TempDir())
		})
	}
}

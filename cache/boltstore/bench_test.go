// SPDX-License-Identifier: Apache-2.0

package boltstore_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/boltstore"
)

// Puts of a thousand devices at once, as after a power cut or a move of all of them, beside the
// directory with a file for each.
func BenchmarkPuts(b *testing.B) {
	const devices = 1000
	db := &boltstore.Store{Path: filepath.Join(b.TempDir(), "store.db")}
	require.NoError(b, db.Open())
	b.Cleanup(func() { _ = db.Close() })
	for name, store := range map[string]cache.Store{
		"boltstore": db, "dir": cache.Dir(b.TempDir()),
	} {
		b.Run(name, func(b *testing.B) {
			puts := 0
			for b.Loop() {
				var all sync.WaitGroup
				for d := range devices {
					all.Go(func() {
						// An entry's size; each round has others.
						value := fmt.Appendf(nil, "%400d", puts)
						err := store.Put(b.Context(), fmt.Sprintf("sensor-%04d", d), value)
						if err != nil {
							b.Error(err)
						}
					})
				}
				all.Wait()
				puts += devices
			}
			b.ReportMetric(float64(puts)/b.Elapsed().Seconds(), "puts/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

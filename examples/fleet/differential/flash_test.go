// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rehome-iot/rehome/cache"
)

// flash is a device's store as one process sees it: once that is dead, it stores nothing more.
type flash struct {
	memory cache.Memory
	behind *cache.Memory // what all processes share; nil: memory
	frozen atomic.Bool
}

func (f *flash) shared() *cache.Memory {
	if f.behind != nil {
		return f.behind
	}
	return &f.memory
}

// reopened is the store as the next process sees it.
func (f *flash) reopened() *flash { return &flash{behind: f.shared()} }

func (f *flash) freeze() { f.frozen.Store(true) }

func (f *flash) Get(ctx context.Context, key string) ([]byte, error) {
	return f.shared().Get(ctx, key)
}

func (f *flash) Put(ctx context.Context, key string, data []byte) error {
	if f.frozen.Load() {
		return nil
	}
	return f.shared().Put(ctx, key, data)
}

func (f *flash) Delete(ctx context.Context, key string) error {
	if f.frozen.Load() {
		return nil
	}
	return f.shared().Delete(ctx, key)
}

func (f *flash) GetWaits(ctx context.Context, key string) ([]byte, time.Duration, error) {
	return f.shared().GetWaits(ctx, key)
}

func (f *flash) PutWaits(ctx context.Context, key string, data []byte) error {
	if f.frozen.Load() {
		return nil
	}
	return f.shared().PutWaits(ctx, key, data)
}

// SPDX-License-Identifier: Apache-2.0

package cache_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rehome-iot/rehome/cache"
)

func ExampleDir() {
	parent, err := os.MkdirTemp("", "cache")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(parent)
	ctx := context.Background()

	store := cache.Dir(filepath.Join(parent, "sensor"))
	_, err = store.Get(ctx, "assignment")
	fmt.Println(errors.Is(err, cache.ErrMiss))

	if err := store.Put(ctx, "assignment", []byte("hub-a.azure-devices.net")); err != nil {
		fmt.Println(err)
		return
	}
	data, err := store.Get(ctx, "assignment")
	fmt.Println(string(data), err)
	// Output:
	// true
	// hub-a.azure-devices.net <nil>
}

func ExampleMemory() {
	var store cache.Memory
	ctx := context.Background()
	fmt.Println(store.Put(ctx, "assignment", []byte("hub-a.azure-devices.net")))
	data, err := store.Get(ctx, "assignment")
	fmt.Println(string(data), err)
	fmt.Println(store.Delete(ctx, "assignment"))
	_, err = store.Get(ctx, "assignment")
	fmt.Println(err)
	// Output:
	// <nil>
	// hub-a.azure-devices.net <nil>
	// <nil>
	// no such entry
}

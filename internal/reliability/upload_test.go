// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"bytes"
	"context"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// uploads are of one block, or of three.
func uploads() []*operation {
	const (
		limit    = 105 * time.Second // of a request to the hub
		progress = time.Minute       // without any, a request to the storage account ends
		telling  = 10 * time.Second  // the hub that an upload has failed
		slowly   = 10 * time.Minute  // as long as an answer takes that makes progress
	)
	upload := func(size int) func(context.Context, *world) error {
		return func(ctx context.Context, w *world) error {
			return w.conn.Upload(ctx, "log.txt", newSource(ctx, w, size), hubconn.UploadOptions{
				BlockSize: 1 << 10, MaxRetries: -1,
			})
		}
	}
	one, three := upload(100), upload(3<<10)
	put := atHub(hubtest.Fault{On: hubtest.BlobPut, Status: 503})
	storage := with(
		operation{peer: toStorage, ready: ready, run: one, device: uploadsFiles},
		operation{
			name: "put blob", at: request("PUT ", "/log.txt?"), refuse: put, bound: progress,
			slowly: slowly,
		},
		operation{
			name: "block", at: request("PUT ", "comp=block&"), refuse: put, bound: progress,
			run: three, slowly: slowly,
		},
		operation{
			name: "idle", at: rest, run: three, bound: progress + 2*time.Second, slowly: slowly,
		},
		operation{
			name: "commit", at: request("PUT ", "comp=blocklist"), refuse: put, bound: progress,
			run: three, slowly: slowly,
		},
	)
	last := &storage[len(storage)-1].refuse
	*last = atHub(hubtest.Fault{On: hubtest.BlobPut, Status: 503, Skip: 3}) // after the blocks
	hub := []*operation{
		{
			name: "place", at: request("POST ", "/files?"), bound: limit, lasts: time.Hour,
			refuse: atHub(hubtest.Fault{On: hubtest.UploadStart, Status: 503}),
		},
		{
			name: "notify", at: request("POST ", "/files/notifications"), bound: limit + telling,
			cancelled: telling, rough: telling, lasts: time.Hour,
			refuse: atHub(hubtest.Fault{On: hubtest.UploadNotify, Status: 503}),
		},
	}
	for _, o := range hub {
		o.peer, o.ready, o.run, o.device = toHub, ready, one, uploadsFiles
	}
	return append(append([]*operation{hub[0]}, storage...), hub[1])
}

// source is what is uploaded. The last block takes a while to come, and that is when a fault at
// rest strikes.
type source struct {
	*bytes.Reader
	ctx  context.Context
	w    *world
	rest bool
}

func newSource(ctx context.Context, w *world, size int) *source {
	return &source{Reader: bytes.NewReader(make([]byte, size)), ctx: ctx, w: w}
}

func (s *source) Read(p []byte) (int, error) {
	if s.w.way.at.layer == atRest && !s.rest && s.Len() <= 1<<10 {
		s.rest = true
		time.Sleep(time.Second)
		s.w.way.strikeAll()
		select {
		case <-time.After(time.Second):
		case <-s.ctx.Done():
			return 0, context.Cause(s.ctx)
		}
	}
	return s.Reader.Read(p)
}

// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rehome-iot/rehome/internal/https"
	"github.com/rehome-iot/rehome/retry"
)

const (
	defaultBlockSize = 4 << 20
	maxBlockSize     = 100 << 20 // Azure docs: "Put Block", the limit of every version since 2016
	maxBlocks        = 50000
	defaultRetries   = 5

	// uploadUnknown is InvalidFileUploadCorrelationId (Azure docs: "Understand and resolve Azure
	// IoT Hub errors").
	uploadUnknown = 400015
	// uploadExpired is ExpiredFileUploadCorrelationId.
	uploadExpired = 400016

	maxBarren = 3 // places that an upload gets in a row without getting any further
)

// uploadRetry spaces the retries of one request of an upload.
var uploadRetry = retry.Policy{MaxDelay: time.Minute}

// UploadOptions says how to upload a file. The zero value is ready.
type UploadOptions struct {
	// BlockSize is how many bytes are sent, and held in memory, at a time. Default: 4 MiB, at most
	// 100 MiB. A file has at most 50,000 blocks.
	BlockSize int
	// MaxRetries is how often each request is tried again when the network, the hub or the storage
	// account fails. Default: 5; negative: never.
	MaxRetries int
	// Progress, if set, is called after each block with the number of bytes that the storage
	// account has.
	Progress func(sent int64)
	// ContentType becomes the blob's. Default: the storage account's own default.
	ContentType string
}

// Upload sends what r has to the storage account of the hub, as the blob {device}/{name}: it
// requests the place from the hub, sends blocks, and notifies the hub of the end, good or bad. It
// goes over HTTPS beside the connection, but ends with it.
//
// The place is good for an hour, unless the hub's owner has set another time. An upload that takes
// longer requests it again, and goes on with the blocks that are there: the hub learns of the first
// upload that it failed, and of one more that it went well. If the hub then gives the place of
// another blob, the upload fails.
//
// A block that fails is sent again from memory, so r need not be rewindable; r is read to its end
// and not closed, and a Read that blocks holds up the end of ctx. The error is an *Error; its class
// is Caller when r fails or the storage account refuses. 403006 (Throttled) means that ten uploads
// of the device are under way. To notify the hub of a failure Upload takes 10 s at most, also when
// ctx has ended or r panics. Modules have no uploads.
func (c *Conn) Upload(ctx context.Context, name string, r io.Reader, o UploadOptions) error {
	if err := o.check(c.hub, name); err != nil {
		return &Error{Op: "upload", Hub: c.hub, Class: Caller, Err: err}
	}
	o.BlockSize = cmp.Or(o.BlockSize, defaultBlockSize)
	o.MaxRetries = cmp.Or(o.MaxRetries, defaultRetries)
	uploading, cancel := c.within(ctx)
	defer cancel()
	u := &upload{conn: c, options: o, name: name, told: true}
	failed := &Error{Op: "upload", Hub: c.hub, Class: Caller} // if r panics
	// The hub counts an upload as under way until it is notified of the end.
	defer func() { u.giveUp(ctx, failed) }()
	if failed = u.run(uploading, r); failed != nil {
		return failed
	}
	return nil
}

func (o UploadOptions) check(hub Hub, name string) error {
	switch {
	case hub.ModuleID != "":
		return errors.New("modules have no uploads")
	case name == "" || utf8.RuneCountInString(name) > 1024 || !utf8.ValidString(name) ||
		strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("a blob name is one line of 1 to 1024 characters")
	case o.BlockSize < 0 || o.BlockSize > maxBlockSize:
		return fmt.Errorf("BlockSize of %d is not between 0 and %d", o.BlockSize, maxBlockSize)
	case !printable(o.ContentType):
		return errors.New("ContentType is not printable ASCII")
	}
	return nil
}

// upload is one under way.
type upload struct {
	conn    *Conn
	options UploadOptions
	name    string
	place   blobLocation
	blob    *blob
	staged  int  // blocks that the storage account has
	used    bool // the storage account has taken the place's token
	barren  int  // places in a row whose token it has not taken
	told    bool // the hub knows of the end
	retried bool // the request before, or this one, was tried more than once
}

func (u *upload) run(ctx context.Context, r io.Reader) *Error {
	if failed := u.locate(ctx); failed != nil {
		return failed
	}
	b, err := u.conn.dialer.openBlob(u.place, u.options.ContentType)
	if err != nil {
		return &Error{Op: "upload", Hub: u.conn.hub, Class: Caller, Err: err}
	}
	defer b.close()
	u.blob = b
	if failed := u.send(ctx, r); failed != nil {
		return failed
	}
	failed := u.notify(ctx, http.StatusOK, "uploaded")
	if failed == nil || failed.Code != uploadExpired {
		return failed
	}
	// The blob is there, but the hub does not take its end under this name any more.
	if failed := u.locateAgain(ctx); failed != nil {
		return failed
	}
	return u.notify(ctx, http.StatusOK, "uploaded")
}

// notify sends the hub the end of the upload, good or bad.
func (u *upload) notify(ctx context.Context, status int, description string) *Error {
	body, err := json.Marshal(map[string]any{
		"correlationId": u.place.CorrelationID, "isSuccess": status == http.StatusOK,
		"statusCode": status, "statusDescription": description,
	})
	if err != nil {
		return &Error{Op: "upload", Hub: u.conn.hub, Class: Caller, Err: err}
	}
	u.retried = false
	failed := u.call(ctx, "/files/notifications", body, nil)
	if failed == nil || u.retried && failed.Code == uploadUnknown {
		// the hub gave the correlation ID itself: if it no longer knows it, the first notification
		// arrived
		u.told = true
		return nil
	}
	return failed
}

// giveUp notifies the hub of a failure, unless it knows of the end. It is tried once more, as far
// as its time allows.
func (u *upload) giveUp(ctx context.Context, failed *Error) {
	if u.told {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	u.options.MaxRetries = 1
	status, class := http.StatusInternalServerError, Unreachable
	if failed != nil {
		class = failed.Class
		if failed.Status >= http.StatusBadRequest { // not a success that was somebody else's
			status = failed.Status
		}
	}
	_ = u.notify(ctx, status, "upload failed: "+class.String())
}

// call sends a request to the hub, and has the body of its response read, if it is to have one.
func (u *upload) call(
	ctx context.Context, path string, body []byte, read func(https.Response) *Error,
) *Error {
	return u.persist(ctx, func() *Error {
		response, failed := u.conn.dialer.call(ctx, u.conn.hub, u.conn.identity(), apiRequest{
			op: "upload", method: http.MethodPost, path: path, body: body, answered: read != nil,
			header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		})
		if failed != nil || read == nil {
			return failed
		}
		return read(response)
	})
}

// send sends the content: at once if it fits in a block, else in blocks and then the list of them.
func (u *upload) send(ctx context.Context, r io.Reader) *Error {
	b := u.blob
	source := bufio.NewReader(r)
	block := new(bytes.Buffer)
	var sent int64
	for n := 0; ; n++ {
		if u.retried {
			// A request that failed may still be reading the block, on a connection that nobody
			// listens to.
			block, u.retried = new(bytes.Buffer), false
		}
		block.Reset()
		if _, err := block.ReadFrom(
			io.LimitReader(source, int64(u.options.BlockSize)),
		); err != nil {
			return &Error{
				Op: "upload", Hub: u.conn.hub, Class: Caller, Err: fmt.Errorf("reading: %w", err),
			}
		}
		_, err := source.Peek(1)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return &Error{
				Op: "upload", Hub: u.conn.hub, Class: Caller, Err: fmt.Errorf("reading: %w", err),
			}
		}
		put := func() (https.Response, error) { return b.putBlock(ctx, n, block.Bytes()) }
		switch {
		case n == 0 && last:
			put = func() (https.Response, error) { return b.put(ctx, block.Bytes()) }
		case n >= maxBlocks:
			return &Error{
				Op: "upload", Hub: u.conn.hub, Class: Caller,
				Err: fmt.Errorf("more than %d blocks of %d bytes", maxBlocks, u.options.BlockSize),
			}
		}
		if failed := u.store(ctx, put); failed != nil {
			return failed
		}
		u.staged++
		sent += int64(block.Len())
		if u.options.Progress != nil {
			u.options.Progress(sent)
		}
		if !last {
			continue
		}
		if n > 0 {
			return u.store(ctx, func() (https.Response, error) { return b.commit(ctx, n+1) })
		}
		return nil
	}
}

// store sends a request to the storage account, with a new token where the one there was is over.
// Nothing the storage account says is about the device and its hub.
func (u *upload) store(ctx context.Context, put func() (https.Response, error)) *Error {
	for {
		if u.over() {
			if failed := u.locateAgain(ctx); failed != nil {
				return failed
			}
		}
		failed := u.persist(ctx, func() *Error {
			response, err := put()
			if err != nil {
				if ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				return storageFailed(u.conn.hub, err)
			}
			return storageRefused(u.conn.hub, response)
		})
		if failed == nil {
			u.used, u.barren = true, 0
			return nil
		}
		// A token that it has taken before is over, whatever the clock here says. One that it has
		// never taken is no better the next time.
		if failed.Status != http.StatusForbidden || !u.used && !u.over() || u.barren == maxBarren {
			return failed
		}
		u.barren++
		if again := u.locateAgain(ctx); again != nil {
			return again
		}
	}
}

// persist tries until it goes well or it is not for trying again.
func (u *upload) persist(ctx context.Context, try func() *Error) *Error {
	for n := 1; ; n++ {
		e := try()
		if e == nil || n > u.options.MaxRetries || ctx.Err() != nil {
			return e
		}
		if e.Class != Throttled && e.Class != Server && e.Class != Unreachable {
			return e
		}
		u.retried = true
		timer := time.NewTimer(uploadRetry.Delay(n, e.RetryAfter(), rand.Float64()))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return classify("upload", u.conn.hub, context.Cause(ctx))
		}
	}
}

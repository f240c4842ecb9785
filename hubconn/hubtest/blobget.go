// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The bounds of what a hub's storage keeps; the blobs that were written longest ago go first.
const (
	maxStorage = 512 << 20 // bytes, uncommitted blocks included
	maxBlobs   = 10_000
)

// get serves Get Blob and Get Blob Properties, whole or a range. It reports false for any other
// request.
func (s *store) get(w http.ResponseWriter, r *http.Request, name string) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.URL.Query().Has("comp") {
		return false
	}
	if r.Header.Get("Authorization") != "" {
		// A back end has the hub's key here: it has none of the storage's.
		code, refusal := s.hub.authorizeREST(r.Header.Get("Authorization"), serviceConnect)
		if code != 0 {
			s.decline(w, name, *unauthentic(refusal))
			return true
		}
	} else if err := s.allows(name, r.URL.Query()); err != nil {
		s.decline(w, name, *unauthentic(err.Error()))
		return true
	}
	s.mu.Lock()
	b := s.blobs[name]
	found := b != nil && b.whole != nil
	var whole []byte // it is replaced, and never written to
	var kind string
	var written time.Time
	if found {
		whole, kind, written = b.whole, b.kind, b.written
	}
	s.mu.Unlock()
	if !found {
		s.decline(w, name, blobError{
			http.StatusNotFound, "BlobNotFound", "The specified blob does not exist.",
		})
		return true
	}
	header := w.Header()
	if kind == "" {
		kind = "application/octet-stream"
	}
	sum := md5.Sum(whole)
	header.Set("Content-Type", kind)
	header.Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
	header.Set("ETag", `"0x`+strconv.FormatInt(written.UnixNano(), 16)+`"`)
	header.Set("x-ms-blob-type", "BlockBlob")
	if chosen := r.Header.Get("x-ms-range"); chosen != "" {
		r.Header.Set("Range", chosen) // clients of the storage name it so
	}
	status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	http.ServeContent(status, r, "", written, bytes.NewReader(whole))
	s.logOperation(BlobGet, name, status.status)
	return true
}

// decline refuses to read a blob.
func (s *store) decline(w http.ResponseWriter, name string, e blobError) {
	s.logOperation(BlobGet, name, e.status)
	s.refuse(w, e)
}

func unauthentic(why string) *blobError {
	return &blobError{
		http.StatusForbidden, "AuthenticationFailed",
		"Server failed to authenticate the request: " + why,
	}
}

// statusWriter remembers the status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// keep takes note that a blob was written, which had so many bytes before, and frees others where
// there are too many; s.mu is held.
func (s *store) keep(name string, b *blob, before int) {
	b.written = s.hub.network.Now()
	s.order = append(slices.DeleteFunc(s.order, func(other string) bool {
		return other == name
	}), name)
	s.blobs[name] = b
	s.size += b.size() - before
	for len(s.order) > 1 && (s.size > s.room || len(s.order) > maxBlobs) {
		s.size -= s.blobs[s.order[0]].size()
		delete(s.blobs, s.order[0])
		s.order = s.order[1:]
	}
}

func (b *blob) size() int { return len(b.whole) + b.pending }

// stageOf is the one whose faults a request to storage meets.
func stageOf(r *http.Request) Stage {
	if strings.EqualFold(r.Method, http.MethodGet) || strings.EqualFold(r.Method, http.MethodHead) {
		return BlobGet
	}
	return BlobPut
}

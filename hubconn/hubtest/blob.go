// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/internal/uuid"
)

const (
	maxBlob     = 256 << 20 // what a simulator keeps of one blob, in bytes
	maxBlocks   = 50_000
	maxBlockID  = 64 // bytes before base64
	blobVersion = "2019-12-12"
)

// store is the storage account of a hub's uploads: block blobs, behind a host of their own.
type store struct {
	hub  *Hub
	host string
	key  []byte

	mu    sync.Mutex
	blobs map[string]*blob
	order []string // names of blobs: the one written longest ago first
	size  int      // bytes that all blobs have
	room  int      // and may have
}

type blob struct {
	whole   []byte // nil: never committed
	kind    string // content type
	blocks  map[string][]byte
	chosen  map[string][]byte // the blocks of whole, and parts of it
	pending int               // bytes in blocks
	written time.Time         // by the services' clock
}

func newStore(h *Hub) *store {
	s := &store{
		hub: h, host: blobHost(h.host), key: make([]byte, 64), blobs: make(map[string]*blob),
		room: maxStorage,
	}
	_, _ = rand.Read(s.key) // never fails
	h.network.Handle(s.host, s)
	return s
}

// blobHost names the storage of a hub: "hub-a.azure-devices.net" has "hub-a.blob.core.windows.net".
// A hub of any other domain has its whole name there, for two hubs may begin alike.
func blobHost(hub string) string {
	name, domain, _ := strings.Cut(hub, ".")
	if domain != "" && !strings.EqualFold(domain, "azure-devices.net") {
		name = hub
	}
	return name + ".blob.core.windows.net"
}

// BlobHost returns the host name of the storage that devices upload to: of
// "hub-a.azure-devices.net" it is "hub-a.blob.core.windows.net", and of "hub-a.example.com" it is
// "hub-a.example.com.blob.core.windows.net". Faults of the network can be set for it as for the
// hub's.
func (h *Hub) BlobHost() string { return h.store.host }

// Blob returns the content of an uploaded blob. Its name begins with the ID of the device:
// "dev1/log.txt". The storage keeps 512 MB, or 10,000 blobs: those that were written longest ago go
// first. Over HTTPS the storage answers GET and HEAD at the address that the device was given, and
// to a back end with the hub's own token (https://{BlobHost}/uploads/dev1/log.txt, policy "service"
// or "iothubowner").
func (h *Hub) Blob(name string) ([]byte, bool) {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	b := h.store.blobs[name]
	if b == nil || b.whole == nil {
		return nil, false
	}
	return slices.Clone(b.whole), true
}

// BlobType returns the content type an uploaded blob was given, "" if there is no such blob.
func (h *Hub) BlobType(name string) string {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	if b := h.store.blobs[name]; b != nil && b.whole != nil {
		return b.kind
	}
	return ""
}

// token signs the query string that lets a client write one blob. Its signature is the store's own
// affair: clients pass it on as it is.
func (s *store) token(name string, expiry time.Time) string {
	until := expiry.UTC().Format(time.RFC3339)
	return "?" + url.Values{"sv": {blobVersion}, "sr": {"b"}, "sp": {"rw"}, "se": {until}, "sig": {
		s.sign(name, until),
	}}.Encode()
}

func (s *store) sign(name, until string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte("rw\n" + until + "\n/" + container + "/" + name))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// allows checks the token of a request for a blob.
func (s *store) allows(name string, q url.Values) error {
	until, err := time.Parse(time.RFC3339, q.Get("se"))
	switch {
	case q.Get("sig") == "":
		return errors.New("no signature")
	case err != nil || !hmac.Equal([]byte(s.sign(name, q.Get("se"))), []byte(q.Get("sig"))):
		return errors.New("signature did not match")
	case !s.hub.network.Now().Before(until):
		return errors.New("signature not valid in the specified time frame")
	}
	return nil
}

// ServeMQTT closes the connection: storage speaks HTTPS alone.
func (s *store) ServeMQTT(nc net.Conn) { _ = nc.Close() }

// ServeHTTP serves Put Blob, Put Block, Put Block List, Get Blob and Get Blob Properties. Azure
// REST API: Blob service.
func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("x-ms-request-id", uuid.New())
	w.Header().Set("x-ms-version", blobVersion)
	name, ok := blobName(r.URL.EscapedPath())
	if !ok {
		s.refuse(w, blobError{http.StatusNotFound, "ResourceNotFound", "no such container"})
		return
	}
	device, _, _ := strings.Cut(name, "/")
	if f, struck := s.hub.strike(stageOf(r), device); struck && s.applyFault(w, r, name, f) {
		return
	}
	if !s.get(w, r, name) {
		s.respond(w, r, name, s.put(r, name))
	}
}

// applyFault lets a fault have a request. It reports false if that was no more than a delay.
func (s *store) applyFault(w http.ResponseWriter, r *http.Request, name string, f Fault) bool {
	if f.performs() {
		s.put(r, name)
	}
	switch {
	case pause(r.Context(), f.Delay) != nil:
	case f.silent():
		s.logOperation(stageOf(r), name, 0)
		s.hub.leaveUnanswered(w, r, f)
	case f.Status != 0:
		s.logOperation(stageOf(r), name, f.Status)
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxBlob))
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		s.refuse(w, blobError{f.Status, f.ErrorCode, f.Message})
	default:
		return false
	}
	return true
}

func (s *store) respond(w http.ResponseWriter, r *http.Request, name string, refused *blobError) {
	if refused != nil {
		// so that the client hears the response
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxBlob))
		s.logOperation(BlobPut, name, refused.status)
		s.refuse(w, *refused)
		return
	}
	s.logOperation(BlobPut, name, http.StatusCreated)
	w.WriteHeader(http.StatusCreated)
}

func (s *store) logOperation(on Stage, name string, status int) {
	device, _, _ := strings.Cut(name, "/")
	s.hub.logOperation(Operation{
		On: on, DeviceID: device, Transport: "https", Status: status, Detail: name,
	})
}

// blobError is a refusal as storage words it.
type blobError struct {
	status  int
	code    string
	message string
}

func (s *store) refuse(w http.ResponseWriter, e blobError) {
	if e.code == "" {
		e.code = strings.ReplaceAll(http.StatusText(e.status), " ", "")
	}
	if e.message == "" {
		e.message = http.StatusText(e.status)
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("x-ms-error-code", e.code)
	w.WriteHeader(e.status)
	body, _ := xml.Marshal(struct { // strings: cannot fail
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: e.code, Message: e.message})
	_, _ = fmt.Fprintf(w, "%s%s", xml.Header, body)
}

// put does what a request asks for.
func (s *store) put(r *http.Request, name string) *blobError {
	q := r.URL.Query()
	if err := s.allows(name, q); err != nil {
		return unauthentic(err.Error())
	}
	if r.Method != http.MethodPut {
		return &blobError{
			http.StatusMethodNotAllowed, "UnsupportedHttpVerb",
			"blobs are written by PUT, and read by GET and HEAD",
		}
	}
	if r.ContentLength < 0 {
		return &blobError{
			http.StatusLengthRequired, "MissingContentLengthHeader", "Content-Length is missing",
		}
	}
	if r.ContentLength > maxBlob {
		return &blobError{
			http.StatusRequestEntityTooLarge, "RequestBodyTooLarge",
			"the simulated storage takes 256 MB a blob",
		}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBlob))
	if err != nil {
		return &blobError{http.StatusBadRequest, "IncompleteBody", "body is cut short"}
	}
	if sum := md5.Sum(body); r.Header.Get("Content-MD5") != "" &&
		r.Header.Get("Content-MD5") != base64.StdEncoding.EncodeToString(sum[:]) {
		return &blobError{http.StatusBadRequest, "Md5Mismatch", "Content-MD5 is another body's"}
	}
	body = bytes.Clone(body) // without the room that reading left
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.blobs[name]
	if b == nil {
		b = &blob{blocks: make(map[string][]byte)}
	}
	before := b.size()
	var refused *blobError
	switch q.Get("comp") {
	case "":
		refused = b.put(r.Header, body)
	case "block":
		refused = b.stage(q.Get("blockid"), body)
	case "blocklist":
		refused = b.commit(r.Header, body)
	default:
		refused = &blobError{
			http.StatusBadRequest, "InvalidQueryParameterValue",
			"comp is none of block and blocklist",
		}
	}
	if refused == nil {
		s.keep(name, b, before)
	}
	return refused
}

func (b *blob) put(header http.Header, body []byte) *blobError {
	if header.Get("x-ms-blob-type") != "BlockBlob" {
		return &blobError{
			http.StatusBadRequest, "InvalidHeaderValue", "x-ms-blob-type is not BlockBlob",
		}
	}
	kind := header.Get("x-ms-blob-content-type")
	if kind == "" {
		kind = header.Get("Content-Type")
	}
	b.whole, b.kind, b.chosen = body, kind, nil
	b.blocks, b.pending = make(map[string][]byte), 0
	return nil
}

// stage keeps a block until it is committed. The IDs of a blob's blocks are all of one length.
func (b *blob) stage(id string, body []byte) *blobError {
	raw, err := base64.StdEncoding.DecodeString(id)
	if err != nil || len(raw) == 0 || len(raw) > maxBlockID {
		return &blobError{
			http.StatusBadRequest, "InvalidQueryParameterValue",
			"blockid is not base64 of 1 to 64 bytes",
		}
	}
	for other := range b.blocks {
		if len(other) != len(id) {
			return &blobError{
				http.StatusBadRequest, "InvalidBlobOrBlock",
				"blockid is of another length than the other blocks'",
			}
		}
	}
	old, again := b.blocks[id]
	if !again && len(b.blocks) >= maxBlocks || b.pending-len(old)+len(body) > maxBlob {
		return &blobError{
			http.StatusConflict, "BlockCountExceedsLimit", "too many uncommitted blocks",
		}
	}
	if len(body) == 0 {
		return &blobError{http.StatusBadRequest, "InvalidHeaderValue", "a block is not empty"}
	}
	b.blocks[id] = body
	b.pending += len(body) - len(old)
	return nil
}

// commit makes the blob of the blocks in a list.
func (b *blob) commit(header http.Header, list []byte) *blobError {
	var ids struct {
		XMLName xml.Name `xml:"BlockList"`
		Blocks  []struct {
			XMLName xml.Name
			ID      string `xml:",chardata"`
		} `xml:",any"`
	}
	if err := xml.Unmarshal(list, &ids); err != nil {
		return &blobError{http.StatusBadRequest, "InvalidXmlDocument", "body is not a BlockList"}
	}
	if len(ids.Blocks) > maxBlocks {
		return &blobError{
			http.StatusBadRequest, "BlockListTooLong",
			"block list has more than " + strconv.Itoa(maxBlocks) + " blocks",
		}
	}
	var parts [][]byte
	size, names := 0, make([]string, 0, len(ids.Blocks))
	for _, entry := range ids.Blocks {
		id := strings.TrimSpace(entry.ID)
		block, ok := b.blocks[id]
		if entry.XMLName.Local == "Committed" || entry.XMLName.Local == "Latest" && !ok {
			block, ok = b.chosen[id]
		}
		if !ok || size+len(block) > maxBlob {
			return &blobError{
				http.StatusBadRequest, "InvalidBlockList",
				"the list names a block that was not put, or is too large",
			}
		}
		parts, names, size = append(parts, block), append(names, id), size+len(block)
	}
	whole, chosen, at := slices.Concat(parts...), make(map[string][]byte, len(names)), 0
	if whole == nil {
		whole = []byte{}
	}
	for i, id := range names { // no second copy of them
		chosen[id] = whole[at : at+len(parts[i])]
		at += len(parts[i])
	}
	b.whole, b.chosen, b.kind = whole, chosen, header.Get("x-ms-blob-content-type")
	b.blocks, b.pending = make(map[string][]byte), 0
	return nil
}

// blobName takes the name of a blob out of an escaped path: "/uploads/dev1/log.txt" names
// "dev1/log.txt".
func blobName(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, "/"+container+"/")
	if !ok {
		return "", false
	}
	name, err := url.PathUnescape(rest)
	return name, err == nil && name != ""
}

// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/https"
	"github.com/rehome-iot/rehome/internal/oneline"
)

// blobLocation is where the hub wants a blob. It is a credential: whoever has it can write the
// blob.
type blobLocation struct {
	CorrelationID string `json:"correlationId"`
	HostName      string `json:"hostName"`
	ContainerName string `json:"containerName"`
	BlobName      string `json:"blobName"`
	SASToken      string `json:"sasToken"`

	until time.Time // when a new one should be requested; zero: not known
}

// parseBlobLocation reads the hub's response, and refuses what would make a URL of another host or
// another meaning.
func parseBlobLocation(body []byte) (blobLocation, error) {
	var p blobLocation
	if err := json.Unmarshal(body, &p); err != nil {
		// err may quote the token
		return blobLocation{}, errors.New(
			"the answer is not what it should be: no JSON object of strings",
		)
	}
	if checkHost(p.HostName) != nil {
		return blobLocation{}, errors.New("the answer's hostName is no DNS name")
	}
	p.SASToken = strings.TrimPrefix(p.SASToken, "?")
	switch {
	case p.CorrelationID == "":
		return blobLocation{}, errors.New("the answer has no correlationId")
	case p.ContainerName == "" || strings.Contains(p.ContainerName, "/") || p.BlobName == "":
		return blobLocation{}, errors.New("the answer has no containerName or no blobName")
	case p.SASToken == "" || strings.Trim(p.SASToken, alphanumeric+"-._~%!$&'()*+,;=:@/?") != "":
		return blobLocation{}, errors.New("the answer's sasToken is no query of a URL")
	}
	return p, nil
}

// lapses is when a new token should be requested: a little before the end of this one, by the
// monotonic clock. A token that is over when it comes says nothing: the clock here is wrong.
//
// Azure docs: "Create a service SAS", the field se.
func (p blobLocation) lapses(now time.Time) time.Time {
	query, err := url.ParseQuery(p.SASToken)
	if err != nil {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly} {
		if end, err := time.Parse(layout, query.Get("se")); err == nil && end.After(now) {
			left := end.Sub(now)
			return time.Now().Add(left - min(left/10, time.Minute))
		}
	}
	return time.Time{}
}

// same reports whether two places are those of one blob.
func (p blobLocation) same(q blobLocation) bool {
	return p.HostName == q.HostName && p.ContainerName == q.ContainerName &&
		p.BlobName == q.BlobName
}

func (p blobLocation) url() string {
	segments := strings.Split(p.ContainerName+"/"+p.BlobName, "/")
	for i, s := range segments {
		segments[i] = escape(s)
		if s == "." || s == ".." {
			segments[i] = strings.ReplaceAll(s, ".", "%2E") // a name, and no way up
		}
	}
	return "https://" + p.HostName + "/" + strings.Join(segments, "/") + "?" + p.SASToken
}

// locate requests the place for the blob from the hub (Azure docs: "Upload files with IoT Hub").
func (u *upload) locate(ctx context.Context) *Error {
	body, err := json.Marshal(map[string]string{"blobName": u.name})
	if err != nil {
		return &Error{Op: "upload", Hub: u.conn.hub, Class: Caller, Err: err}
	}
	var place blobLocation
	failed := u.call(ctx, "/files", body, func(r https.Response) *Error {
		if r.Status != http.StatusOK || !json.Valid(r.Body) {
			return foreignError("upload", u.conn.hub, r.Status, "the hub")
		}
		if place, err = parseBlobLocation(r.Body); err != nil {
			return &Error{Op: "upload", Hub: u.conn.hub, Class: Server, Err: err}
		}
		return nil
	})
	if failed != nil {
		return failed
	}
	place.until = place.lapses(u.conn.dialer.clock())
	u.place, u.used, u.told = place, false, false
	return nil
}

// locateAgain requests the place anew, since its token is over or the hub has forgotten it. Blocks
// that were sent stay with the blob until they are committed, for a week (Azure docs: "Put Block").
func (u *upload) locateAgain(ctx context.Context) *Error {
	if !u.told {
		// First, since the hub takes ten at a time. It may have given this one up by itself.
		_ = u.notify(ctx, http.StatusRequestTimeout, "to be continued")
	}
	before := u.place
	if failed := u.locate(ctx); failed != nil {
		return failed
	}
	u.retried = true // the block of the request before may still be read
	if u.staged > 0 && !u.place.same(before) {
		return &Error{Op: "upload", Hub: u.conn.hub, Class: Server, Err: errors.New(
			"the hub has given another place, without the blocks that were sent",
		)}
	}
	u.blob.url = u.place.url()
	return nil
}

// over reports whether the place's token ends about now.
func (u *upload) over() bool {
	return !u.place.until.IsZero() && !time.Now().Before(u.place.until)
}

// blob writes one block blob, over a connection of its own that is kept between blocks. The storage
// account gets neither the device's token nor its certificate.
//
// Azure REST API: Blob service, Put Blob, Put Block, Put Block List.
type blob struct {
	conn        *https.Conn
	url         string
	contentType string
}

func (d *Dialer) openBlob(place blobLocation, contentType string) (*blob, error) {
	o := d.httpsOptions(nil)
	o.TLSConfig.Certificates, o.TLSConfig.GetClientCertificate = nil, nil
	dial := o.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return stallConn{nc}, nil
	}
	conn, err := https.Open(o)
	if err != nil {
		return nil, err
	}
	return &blob{conn: conn, url: place.url(), contentType: contentType}, nil
}

func (b *blob) close() { b.conn.Close() }

// put writes the whole blob.
func (b *blob) put(ctx context.Context, content []byte) (https.Response, error) {
	header := http.Header{"X-Ms-Blob-Type": {"BlockBlob"}}
	return b.do(ctx, b.url, b.typed(header), content)
}

// putBlock writes a block that is not yet part of the blob.
func (b *blob) putBlock(ctx context.Context, n int, content []byte) (https.Response, error) {
	return b.do(ctx, b.url+"&comp=block&blockid="+escape(blockID(n)), http.Header{}, content)
}

// commit makes the blob of the first n blocks.
func (b *blob) commit(ctx context.Context, n int) (https.Response, error) {
	var list strings.Builder
	list.WriteString(`<?xml version="1.0" encoding="utf-8"?><BlockList>`)
	for i := range n {
		list.WriteString("<Latest>" + blockID(i) + "</Latest>")
	}
	list.WriteString("</BlockList>")
	return b.do(ctx, b.url+"&comp=blocklist", b.typed(http.Header{}), []byte(list.String()))
}

// blockID names a block: base64, and of the same length for all.
func blockID(n int) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%06d", n)) }

func (b *blob) typed(header http.Header) http.Header {
	if b.contentType != "" {
		header.Set("X-Ms-Blob-Content-Type", b.contentType)
	}
	return header
}

func (b *blob) do(
	ctx context.Context, target string, header http.Header, content []byte,
) (https.Response, error) {
	return b.conn.Do(
		ctx, https.Request{Method: http.MethodPut, URL: target, Header: header, Body: content},
	)
}

// storageRefused is the error of a response of the storage account, or of somebody in its place,
// other than its own 201; that is nil. Each of its responses has an x-ms-request-id (Azure REST
// API: Blob service).
func storageRefused(hub Hub, r https.Response) *Error {
	switch {
	case r.Status == http.StatusCreated && r.RequestID != "":
		return nil
	case r.Status/100 == 2:
		return foreignError("upload", hub, r.Status, "the storage account")
	}
	e := &Error{Op: "upload", Hub: hub, Class: Caller}
	e.read(https.NewResponse(r.Status, r.Header, nil)) // without the body, which is XML
	e.Name, e.Message = oneline.ASCII(r.Header.Get("X-Ms-Error-Code"), 64),
		"this is the storage account's answer"
	e.TrackingID = oneline.ASCII(r.RequestID, 128)
	switch {
	case r.Status == http.StatusTooManyRequests:
		e.Class = Throttled
	case r.Status/100 == 5, r.Status == http.StatusRequestTimeout:
		e.Class = Server
	case r.Status/100 != 4:
		e.Class = Unreachable
	}
	return e
}

// storageFailed is the error of a storage account that sent no response. The loop concludes from
// the type of a DNS error that a hub is gone, and from a rejection that the hub does not know the
// device; neither may be concluded from a storage account, so a name that does not exist loses its
// type, and a rejection its class.
func storageFailed(hub Hub, err error) *Error {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		err = errors.New(err.Error())
	}
	if _, ours := errors.AsType[*Error](err); ours {
		return classify("upload", hub, err) // the connection to the hub has ended
	}
	e := classify("upload", hub, fmt.Errorf("storage account: %w", err))
	if e.Class == Rejected {
		e.Class = Unreachable
	}
	return e
}

// stallTimeout is how long a connection to a storage account may make no progress. A limit for a
// whole block would be too long for some networks and too short for others.
const stallTimeout = time.Minute

// stallConn is a connection that fails when nothing is read or written for stallTimeout.
type stallConn struct{ net.Conn }

func (c stallConn) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(stallTimeout))
	return c.Conn.Read(p)
}

// Write also extends the deadline for reading: the response comes when all is written.
func (c stallConn) Write(p []byte) (int, error) {
	_ = c.SetDeadline(time.Now().Add(stallTimeout))
	n, err := c.Conn.Write(p)
	_ = c.SetReadDeadline(time.Now().Add(stallTimeout))
	return n, err
}

// SPDX-License-Identifier: Apache-2.0

package https

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"github.com/rehome-iot/rehome/internal/dial"
	"github.com/rehome-iot/rehome/internal/oneline"
)

const (
	// maxHeader is the longest header of a response, together with those of the interim responses
	// before it. The services' own have a few hundred bytes.
	maxHeader = 64 << 10
	// maxQuoted is how much is told of an error that quotes the response, in characters.
	maxQuoted = 200

	// overlap is how long one half of an exchange is waited for when the other half has ended: a
	// server may respond before it has read a request to its end, and one that resets the
	// connection may have said why.
	overlap = time.Second
)

// link is one network connection, with HTTP/1.1 on it and not HTTP/2: a front end may ask for the
// client certificate only once it has seen the path, by TLS 1.2 renegotiation, which HTTP/2
// forbids. One goroutine at a time uses it.
//
// While nothing is expected from the server, watch reads all the same: so an end of the connection
// is seen before a request is sent into it.
type link struct {
	nc     *tls.Conn
	server string // host of the URL
	chains [][]*x509.Certificate
	limit  limited
	reader *bufio.Reader // of limit
	first  chan error    // what the watch met: a first byte (nil), or the end
}

func newLink(nc *tls.Conn, server string) *link {
	l := &link{nc: nc, server: server, chains: nc.ConnectionState().VerifiedChains}
	l.limit.from = nc
	l.reader = bufio.NewReader(&l.limit)
	l.watch()
	return l
}

// watch begins to wait for the server's next byte.
func (l *link) watch() {
	l.limit.left = maxHeader
	first := make(chan error, 1)
	l.first = first
	go func() {
		_, err := l.reader.Peek(1)
		first <- err
	}()
}

// silent is whether the watch has met nothing yet. If it has, the link is of no use, and first has
// its result again.
func (l *link) silent() bool {
	select {
	case err := <-l.first:
		l.first <- err
		return false
	default:
		return true
	}
}

// close ends the connection, and the watch.
func (l *link) close() {
	dial.Abort(l.nc)
	if l.first != nil {
		<-l.first
	}
}

// exchange sends a request and reads the response. It closes the connection when ctx ends. The link
// can be kept if it says so.
func (l *link) exchange(
	ctx context.Context, request *http.Request,
) (r Response, keep bool, err error) {
	stop := context.AfterFunc(ctx, func() { dial.Abort(l.nc) })
	written := make(chan error, 1)
	go func() { written <- request.Write(l.nc) }()

	var whole, sent bool
	var failed error // of the sending
	first := l.first
	l.first = nil
	select {
	case err = <-first:
	case failed = <-written:
		sent = true
		err = l.wait(first, failed != nil)
	}
	switch {
	case err == nil:
		r, whole, err = l.receive(request)
	case failed != nil:
		err = failed
	default:
		err = unexpected(err)
	}
	if err != nil {
		dial.Abort(l.nc)
	}
	if !sent {
		failed = l.wait(written, true)
	}
	keep = stop() && whole && failed == nil
	if keep {
		l.watch()
	}
	return r, keep, err
}

// wait returns the result of one half of an exchange. It is given little time when the other half
// has ended already.
func (l *link) wait(half <-chan error, little bool) error {
	if little {
		timer := time.AfterFunc(overlap, func() { dial.Abort(l.nc) })
		defer timer.Stop()
	}
	return <-half
}

// receive reads a response; whole is whether nothing of it is left, so that another may follow.
func (l *link) receive(request *http.Request) (r Response, whole bool, err error) {
	reply, err := http.ReadResponse(l.reader, request)
	for err == nil && interim(reply.StatusCode) {
		reply, err = http.ReadResponse(l.reader, request)
	}
	if err == nil && reply.StatusCode < 100 {
		// Package net/http takes 000 and +99 too, and 0 says everywhere that there is no response.
		err = errors.New("malformed HTTP status code")
	}
	if err != nil {
		return Response{}, false, unexpected(oneline.Cut(err, maxQuoted))
	}
	r = NewResponse(reply.StatusCode, reply.Header, nil)
	r.Chains = l.chains
	l.limit.left = math.MaxInt // the body has its own
	// The body is not closed, which would read it to its end however far that is.
	body, err := io.ReadAll(io.LimitReader(reply.Body, MaxBody+1))
	switch {
	case err != nil:
		return r, false, &BodyError{
			Problem: "the answer is cut short", Err: oneline.Cut(err, maxQuoted),
		}
	case len(body) > MaxBody:
		problem := fmt.Sprintf("the answer is longer than %d bytes", MaxBody)
		return r, false, &BodyError{Problem: problem}
	}
	r.Body = body
	whole = !reply.Close && l.reader.Buffered() == 0 &&
		reply.StatusCode != http.StatusSwitchingProtocols
	return r, whole, nil
}

// interim is whether another response follows (RFC 9110 §15.2). After 101 another protocol does.
func interim(status int) bool { return status/100 == 1 && status != http.StatusSwitchingProtocols }

// unexpected is err, but that an end where there should be a response is not a regular one.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// limited reads until so much is read.
type limited struct {
	from io.Reader
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("the header of the answer is longer than %d bytes", maxHeader)
	}
	n, err := l.from.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

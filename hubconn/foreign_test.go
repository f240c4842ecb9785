// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/retry"
)

// foreign is a site of somebody else's under a name of the service: it gives every request the same
// response.
type foreign struct {
	status int
	header http.Header
	body   string
}

func (foreign) ServeMQTT(nc net.Conn) { _ = nc.Close() }

func (f foreign) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // so that the client hears the response
	for name, values := range f.header {
		w.Header()[name] = values
	}
	w.WriteHeader(f.status)
	_, _ = io.WriteString(w, f.body)
}

// page is what a captive portal answers; Retry-After is a trap, as is the ETag.
var page = foreign{
	http.StatusOK, http.Header{
		"Content-Type": {"text/html"}, "Etag": {`"5f2b"`}, "Retry-After": {"86400"},
	},
	"<html><body>Please accept our terms.</body></html>",
}

// isForeign checks the error about a response that is not the hub's.
func (s *stage) isForeign(err error, status int) {
	s.Helper()
	e := s.is(err, hubconn.Unreachable)
	assert.Equal(s, status, e.Status)
	assert.Equal(s, retry.Wait, retry.Classify(err))
	assert.Zero(s, e.RetryAfter(), "the hub asked for nothing")
	assert.Zero(s, e.Date, "it sets no clock")
	assert.ErrorContains(s, err, "somebody else")
}

func TestOnlyTheHubsOwnAnswerToAMessageCountsAsSent(t *testing.T) {
	for name, answer := range map[string]foreign{
		"a page":          page,
		"an empty page":   {status: http.StatusOK},
		"JSON":            {http.StatusOK, nil, `{"Message":"accepted"}`},
		"created":         {status: http.StatusCreated},
		"accepted":        {status: http.StatusAccepted},
		"transformed":     {http.StatusNonAuthoritativeInfo, nil, "ok"},
		"partial content": {http.StatusPartialContent, nil, "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				s.network.Handle(host, answer)
				s.isForeign(s.post(hubconn.Message{Body: []byte("x")}), answer.status)
				s.network.Handle(host, s.hub)
				require.NoError(s, s.post(hubconn.Message{Body: []byte("x")}))
				assert.Len(s, s.hub.Messages(), 1)
			})
		})
	}
}

func TestAPageIsNoCloudToDeviceMessage(t *testing.T) {
	play(t, func(s *stage) {
		require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{Body: []byte("x")}))
		for _, answer := range []foreign{
			page, {status: http.StatusOK}, {status: http.StatusAccepted},
			{http.StatusPartialContent, http.Header{
				"Etag": {`"1"`}, "Iothub-Sequencenumber": {"1"},
			}, "x"},
		} {
			s.network.Handle(host, answer)
			d, err := s.dialer.Receive(s.Context(), s.at, s.key)
			assert.Nil(s, d)
			s.isForeign(err, answer.status)
		}
		s.network.Handle(host, foreign{
			http.StatusOK, http.Header{"Iothub-Sequencenumber": {"1"}}, "x",
		})
		_, err := s.dialer.Receive(s.Context(), s.at, s.key)
		s.is(err, hubconn.Server) // the hub's, but it can be neither completed nor abandoned
		assert.ErrorContains(s, err, "ETag")

		s.network.Handle(host, s.hub)
		d, err := s.dialer.Receive(s.Context(), s.at, s.key)
		require.NoError(s, err)
		require.NotNil(s, d)
		s.network.Handle(host, page)
		s.isForeign(d.Complete(s.Context()), http.StatusOK)
		s.isForeign(d.Abandon(s.Context()), http.StatusOK)
		s.isForeign(d.Reject(s.Context()), http.StatusOK)
		assert.Empty(s, s.hub.SettledC2D())
		s.network.Handle(host, s.hub)
		require.NoError(s, d.Complete(s.Context()))
		assert.Len(s, s.hub.SettledC2D(), 1)
	})
}

// An upload talks to two hosts three times, and a page may come instead of each response.
func TestAnUploadThatAPageAnswersIsTriedAgain(t *testing.T) {
	for _, on := range []hubtest.Stage{hubtest.UploadStart, hubtest.UploadNotify} {
		t.Run(on.String(), func(t *testing.T) {
			play(t, func(s *stage) {
				conn := s.connect()
				s.hub.Inject(hubtest.Fault{On: on, Status: http.StatusOK, Times: 2})
				require.NoError(s, s.upload(conn, content(10), hubconn.UploadOptions{}))
				s.uploaded(true)
				s.hub.Inject(hubtest.Fault{On: on, Status: http.StatusOK, Times: -1})
				err := s.upload(conn, content(10), hubconn.UploadOptions{MaxRetries: 1})
				s.isForeign(err, http.StatusOK)
			})
		})
	}
	t.Run(hubtest.BlobPut.String(), func(t *testing.T) {
		play(t, func(s *stage) {
			conn := s.connect()
			for _, answer := range []foreign{
				page, {status: http.StatusOK}, {status: http.StatusCreated},
				{http.StatusOK, http.Header{"X-Ms-Request-Id": {"1"}}, ""},
			} {
				s.network.Handle(s.hub.BlobHost(), answer)
				for _, size := range []int{10, 2000} {
					err := s.upload(conn, content(size), hubconn.UploadOptions{
						BlockSize: 1000, MaxRetries: 1,
					})
					s.isForeign(err, answer.status)
					s.uploaded(false)
				}
			}
		})
	})
}

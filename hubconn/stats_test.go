// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

func TestStatsCountWhatAConnectionDoes(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL = time.Hour
		var log bytes.Buffer
		s.dialer.Logger = slog.New(slog.NewTextHandler(&log, nil))
		conn := s.connect()
		before := conn.Stats()
		assert.Zero(s, before.Sent+before.Acknowledged)
		assert.Positive(s, before.BytesSent)
		assert.Positive(s, before.BytesReceived)

		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				assert.NoError(s, conn.Send(s.Context(), hubconn.Message{Body: []byte("21")}))
			})
		}
		all.Wait()
		assert.Error(s, conn.Send(s.Context(), hubconn.Message{
			Body: bytes.Repeat([]byte("x"), hubconn.MaxMessageSize+1),
		}), "refused before it is sent")

		s.hub.Inject(hubtest.Fault{On: hubtest.Publish, NoAnswer: true, Times: 2})
		for range 2 {
			go func() { _ = conn.Send(s.Context(), hubconn.Message{Body: make([]byte, 1000)}) }()
		}
		synctest.Wait()
		stats := conn.Stats()
		assert.EqualValues(s, 5, stats.Sent)
		assert.EqualValues(s, 3, stats.Acknowledged)
		assert.Equal(s, 2, stats.InFlight)
		assert.GreaterOrEqual(s, stats.BytesSent-before.BytesSent, int64(2000))
		assert.Less(s, stats.BytesSent-before.BytesSent, int64(3000))

		time.Sleep(55 * time.Minute) // the acknowledgements are overdue: that ends the connection
		assert.Error(s, conn.Context().Err())
		synctest.Wait()
		stats = conn.Stats()
		assert.EqualValues(s, 5, stats.Sent)
		assert.EqualValues(s, 3, stats.Acknowledged)
		assert.Zero(s, stats.InFlight)
		assert.Equal(s, 1, strings.Count(log.String(), `msg="message acknowledged"`), log.String())
		assert.Contains(s, log.String(), "hub="+host+" device_id=dev1")

		again := s.connect()
		begun := again.Stats()
		time.Sleep(55 * time.Minute)
		renewed := again.Stats()
		assert.EqualValues(s, 1, renewed.Renewed)
		assert.Greater(s, renewed.BytesSent, begun.BytesSent+500, "the handshake counts")
		require.NoError(s, again.Close())
		assert.GreaterOrEqual(s, again.Stats().BytesSent, renewed.BytesSent)
	})
}

func TestAnErrorLogsItselfInKeys(t *testing.T) {
	play(t, func(s *stage) {
		s.hub.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5})
		_, err := s.dialer.Dial(s.Context(), s.at, s.key)
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Warn("not connected", "error", err)
		assert.Contains(s, log.String(), `error.cause="connect: refused with return code 5" `+
			`error.class=rejected error.return_code=5`)

		s.hub.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 429, Code: 429001, ErrorCode: "ThrottlingException",
			Message: "slow down",
		})
		err = s.dialer.Post(s.Context(), s.at, s.key, hubconn.Message{Body: []byte("21")})
		log.Reset()
		slog.New(slog.NewTextHandler(&log, nil)).Warn("not sent", "error", err)
		assert.Contains(s, log.String(), `error.cause="post: status 429 ThrottlingException" `+
			`error.class=throttled error.status=429 error.code=429001`)
		assert.NotContains(s, log.String(), "sig=")
	})
}

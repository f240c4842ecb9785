package hubconn_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// content is n bytes that do not repeat.
func content(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func (s *stage) upload(conn *hubconn.Conn, body []byte, o hubconn.UploadOptions) error {
	return conn.Upload(s.Context(), "log.txt", bytes.NewReader(body), o)
}

// uploaded checks the newest upload at the hub.
func (s *stage) uploaded(success bool) hubtest.Upload {
	s.Helper()
	uploads := s.hub.Uploads()
	require.NotEmpty(s, uploads)
	u := uploads[len(uploads)-1]
	assert.False(s, u.Ended.IsZero(), "the hub was told")
	assert.Equal(s, success, u.Success)
	return u
}

func (s *stage) puts() (n int) {
	for _, o := range s.hub.Operations() {
		if o.On == hubtest.BlobPut {
			n++
		}
	}
	return n
}

func TestFilesOfAllSizesAreUploaded(t *testing.T) {
	for _, row := range []struct {
		size, puts int
	}{{0, 1}, {1, 1}, {999, 1}, {1000, 1}, {1001, 3}, {5000, 6}, {5500, 7}} {
		playEverywhere(t, func(s *stage) {
			conn := s.connect()
			var progress []int64
			body := content(row.size)
			require.NoError(s, conn.Upload(s.Context(), "logs/2026 größe.txt",
				iotest.OneByteReader(bytes.NewReader(body)), hubconn.UploadOptions{
					BlockSize: 1000, ContentType: "text/plain",
					Progress: func(sent int64) { progress = append(progress, sent) },
				}))
			got, ok := s.hub.Blob("dev1/logs/2026 größe.txt")
			require.True(s, ok)
			assert.True(s, bytes.Equal(body, got))
			assert.Equal(s, "text/plain", s.hub.BlobType("dev1/logs/2026 größe.txt"))
			assert.Equal(s, row.puts, s.puts())
			s.uploaded(true)
			assert.Len(s, progress, max(1, (row.size+999)/1000))
			assert.EqualValues(s, row.size, progress[len(progress)-1])
			require.NoError(s, conn.Context().Err())
		})
	}
}

func TestALargeFileGoesInBlocksOf4MiB(t *testing.T) {
	play(t, func(s *stage) {
		body := content(9 << 20)
		require.NoError(s, s.upload(s.connect(), body, hubconn.UploadOptions{}))
		got, _ := s.hub.Blob("dev1/log.txt")
		assert.True(s, bytes.Equal(body, got))
		assert.Equal(s, 4, s.puts())
	})
}

// Each block is sent again from memory until the storage account has it.
func TestAnUploadGoesOnAfterTroubles(t *testing.T) {
	for name, fault := range map[string]hubtest.Fault{
		"busy":      {Status: 503},
		"throttled": {Status: 429, RetryAfter: "30"},
		"timed out": {Status: 408},
		"cut":       {Cut: true},
		"closed":    {Close: true},
		"stuck":     {NoAnswer: true},
		"stored":    {Cut: true, Stored: true},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				conn := s.connect()
				fault.On, fault.Skip, fault.Times = hubtest.BlobPut, 2, 5
				s.hub.Inject(fault)
				start := time.Now()
				body := content(5500)
				require.NoError(s, s.upload(conn, body, hubconn.UploadOptions{BlockSize: 1000}))
				got, _ := s.hub.Blob("dev1/log.txt")
				assert.True(s, bytes.Equal(body, got))
				wait := 5 * time.Second
				if name == "throttled" {
					wait = 30 * time.Second
				}
				assert.GreaterOrEqual(s, time.Since(start), 5*wait)
				s.uploaded(true)
			})
		})
	}
}

func TestAnUploadIsGivenUpAfterItsRetries(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		for retries, puts := range map[int]int{0: 6, 2: 3, -1: 1} {
			s.hub.ResetLog()
			s.hub.Inject(hubtest.Fault{On: hubtest.BlobPut, Status: 500, Times: -1})
			e := s.is(
				s.upload(conn, content(10), hubconn.UploadOptions{MaxRetries: retries}),
				hubconn.Server,
			)
			assert.Equal(s, "upload", e.Op)
			assert.Equal(s, 500, e.Status)
			assert.Equal(s, puts, s.puts())
			assert.Equal(s, 500, s.uploaded(false).StatusCode)
			s.hub.ClearFaults()
		}
		s.hub.Inject(hubtest.Fault{
			On: hubtest.BlobPut, Status: 403, ErrorCode: "AuthenticationFailed",
		})
		s.is(s.upload(conn, content(10), hubconn.UploadOptions{}), hubconn.Caller)
		s.uploaded(false)
		require.NoError(s, conn.Context().Err())
	})
}

func TestTheHubsPartOfAnUploadIsTriedAgainToo(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.hub.Inject(hubtest.Fault{On: hubtest.UploadStart, Status: 503, Times: 2})
		s.hub.Inject(hubtest.Fault{
			On: hubtest.UploadNotify, Status: 429, RetryAfter: "60", Times: 2,
		})
		start := time.Now()
		require.NoError(s, s.upload(conn, content(10), hubconn.UploadOptions{}))
		assert.GreaterOrEqual(s, time.Since(start), (5+5+60+60)*time.Second)
		s.uploaded(true)

		for status, class := range map[int]hubconn.Class{
			400: hubconn.Caller, 413: hubconn.Caller, 401: hubconn.Rejected,
		} {
			s.hub.Inject(hubtest.Fault{On: hubtest.UploadStart, Status: status, ErrorCode: "X"})
			e := s.is(s.upload(conn, content(10), hubconn.UploadOptions{}), class)
			assert.Equal(s, status, e.Status)
		}
		require.NoError(s, conn.Context().Err())
	})
}

func TestElevenUploadsAtOnceAreTooMany(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		gates := make([]*io.PipeWriter, 10)
		done := make(chan error, 10)
		for i := range gates {
			var r *io.PipeReader
			r, gates[i] = io.Pipe()
			go func() { done <- conn.Upload(s.Context(), "x", r, hubconn.UploadOptions{}) }()
		}
		synctest.Wait()
		e := s.is(s.upload(conn, nil, hubconn.UploadOptions{MaxRetries: -1}), hubconn.Throttled)
		assert.Equal(s, 403006, e.Code)
		for _, g := range gates {
			require.NoError(s, g.Close())
			require.NoError(s, <-done)
		}
		require.NoError(s, s.upload(conn, nil, hubconn.UploadOptions{}))
	})
}

func TestAReaderThatFailsFailsTheUpload(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		broken := errors.New("bad sector")
		for _, n := range []int{0, 500, 1000, 1500} {
			r := io.MultiReader(bytes.NewReader(content(n)), &failOnce{err: broken})
			err := conn.Upload(s.Context(), "x", r, hubconn.UploadOptions{BlockSize: 1000})
			s.is(err, hubconn.Caller)
			assert.ErrorIs(s, err, broken)
			s.uploaded(false)
			_, ok := s.hub.Blob("dev1/x")
			assert.False(s, ok, "no half a file")
		}
	})
}

// failOnce fails and then is at its end.
type failOnce struct{ err error }

func (f *failOnce) Read([]byte) (int, error) {
	err := f.err
	f.err = io.EOF
	return 0, err
}

func TestAnUploadEndsWithItsContextOrTheConnection(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		for _, byContext := range []bool{true, false} {
			s.hub.Inject(hubtest.Fault{On: hubtest.BlobPut, NoAnswer: true})
			cause := errors.New("enough")
			ctx, cancel := context.WithCancelCause(s.Context())
			defer cancel(nil)
			time.AfterFunc(5*time.Second, func() {
				if byContext {
					cancel(cause)
				} else {
					s.hub.Disconnect("dev1")
				}
			})
			start := time.Now()
			err := conn.Upload(ctx, "x", bytes.NewReader(content(10)), hubconn.UploadOptions{})
			s.is(err, hubconn.Unreachable)
			assert.Equal(s, 5*time.Second, time.Since(start))
			if byContext {
				assert.ErrorIs(s, err, cause)
				require.NoError(s, conn.Context().Err())
			} else {
				assert.ErrorIs(s, err, context.Cause(conn.Context()))
			}
			s.uploaded(false)
		}
	})
}

// Whatever happens to the storage account, it says nothing about the hub: nothing that would make a
// device look for another.
func TestAStorageAccountThatIsGoneIsNotTheHub(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		for _, fault := range []simnet.Fault{
			simnet.NameNotFound, simnet.Refused, simnet.Blackhole,
		} {
			s.network.SetFault(s.hub.BlobHost(), fault)
			err := s.upload(conn, content(10), hubconn.UploadOptions{MaxRetries: -1})
			s.is(err, hubconn.Unreachable)
			assert.NotContains(s, err.Error(), "sig=")
			s.uploaded(false)
		}
		s.network.SetFault(s.hub.BlobHost(), simnet.None)
		s.network.SetCertificate(s.hub.BlobHost(), simnet.UnknownCA)
		s.is(s.upload(conn, content(10), hubconn.UploadOptions{MaxRetries: -1}), hubconn.Untrusted)
		require.NoError(s, conn.Context().Err())
	})
}

func TestAnUploadThatCannotBeRightIsRefused(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		for _, name := range []string{"", "a\nb", "\xff", string(make([]byte, 1025))} {
			err := conn.Upload(s.Context(), name, bytes.NewReader(nil), hubconn.UploadOptions{})
			s.is(err, hubconn.Caller)
		}
		for _, o := range []hubconn.UploadOptions{
			{BlockSize: -1}, {BlockSize: 101 << 20}, {ContentType: "a\nb"},
		} {
			s.is(s.upload(conn, nil, o), hubconn.Caller)
		}
		assert.Empty(s, s.hub.Uploads())
		s.becomesModule()
		module := s.connect()
		s.is(s.upload(module, nil, hubconn.UploadOptions{}), hubconn.Caller)
	})
}

func TestUploadsGoOnThroughRenewals(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL = time.Minute
		conn := s.connect()
		s.hub.Inject(hubtest.Fault{On: hubtest.BlobPut, Delay: 20 * time.Second, Times: -1})
		body := content(20_000)
		require.NoError(s, s.upload(conn, body, hubconn.UploadOptions{BlockSize: 1000}))
		got, _ := s.hub.Blob("dev1/log.txt")
		assert.True(s, bytes.Equal(body, got))
		assert.Greater(s, s.accepted(), 6)
	})
}

// The hub forgets an upload when it is told of its end, so that the same report is an error when it
// comes again.
func TestAReportOfTheEndWhoseAnswerIsLostIsNoFailure(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.hub.Inject(hubtest.Fault{On: hubtest.UploadNotify, Cut: true, Stored: true})
		require.NoError(s, s.upload(conn, content(10), hubconn.UploadOptions{}))
		s.uploaded(true)
		s.hub.Inject(hubtest.Fault{
			On: hubtest.UploadNotify, Status: 400, Code: 400015,
			ErrorCode: "InvalidFileUploadCorrelationId",
		})
		// at the first time it is one
		s.is(s.upload(conn, content(10), hubconn.UploadOptions{}), hubconn.Caller)
	})
}

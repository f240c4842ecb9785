// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
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
		// at the first time it is one, however often its block was sent
		s.hub.Inject(hubtest.Fault{On: hubtest.BlobPut, Status: 503})
		s.is(s.upload(conn, content(10), hubconn.UploadOptions{}), hubconn.Caller)
	})
}

// told checks that the hub was told the end of every upload, whether or not it had given it up by
// then, and returns how many there were.
func (s *stage) told() (uploads int) {
	s.Helper()
	notified := 0
	for _, o := range s.hub.Operations() {
		if o.On == hubtest.UploadNotify {
			notified++
		}
	}
	uploads = len(s.hub.Uploads())
	assert.GreaterOrEqual(s, notified, uploads, "the hub was told of each")
	return uploads
}

// The place is good for a minute, and the upload takes seven.
func TestAnUploadMayTakeLongerThanItsPlaceIsGoodFor(t *testing.T) {
	for name, offset := range map[string]time.Duration{
		"right clock": 0, "slow clock": -4 * time.Minute, "fast clock": 4 * time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				s.dialer.TLSConfig.Time = func() time.Time { return time.Now().Add(offset) }
				s.hub.SetUploadTTL(time.Minute)
				s.hub.Inject(hubtest.Fault{On: hubtest.BlobPut, Delay: 20 * time.Second, Times: -1})
				conn := s.connect()
				body := content(20_000)
				require.NoError(s, s.upload(conn, body, hubconn.UploadOptions{BlockSize: 1000}))
				got, _ := s.hub.Blob("dev1/log.txt")
				assert.True(s, bytes.Equal(body, got))
				s.uploaded(true)
				assert.GreaterOrEqual(s, s.told(), 7)
				for _, u := range s.hub.Uploads()[:s.told()-1] {
					assert.False(s, u.Success)
				}
			})
		})
	}
}

func TestAPlaceThatLapsesBeforeAnythingIsSentIsRequestedAnew(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		for _, size := range []int{10, 2500} {
			r, w := io.Pipe()
			body := content(size)
			go func() {
				time.Sleep(2 * time.Hour)
				_, _ = w.Write(body)
				_ = w.Close()
			}()
			require.NoError(s, conn.Upload(
				s.Context(), "log.txt", r, hubconn.UploadOptions{BlockSize: 1000},
			))
			got, _ := s.hub.Blob("dev1/log.txt")
			assert.True(s, bytes.Equal(body, got))
			s.uploaded(true)
		}
		assert.Equal(s, 4, s.told())
		assert.Equal(s, 1+4, s.puts(), "none with a token that is over")
	})
}

// All is written in time, and the hub is told late.
func TestTheHubIsToldOfAnUploadThatItHasGivenUp(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		require.NoError(s, s.upload(conn, content(10), hubconn.UploadOptions{
			Progress: func(int64) { time.Sleep(61 * time.Minute) },
		}))
		u := s.uploaded(true)
		assert.Equal(s, "dev1/log.txt", u.BlobName)
		assert.Len(s, s.hub.Uploads(), 2)
	})
}

// moving is a hub that gives another blob each time.
type moving struct {
	*hubtest.Hub
	n int
}

func (m *moving) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/files") {
		m.n++
		r.Body = io.NopCloser(strings.NewReader(fmt.Sprintf(`{"blobName":"log-%d.txt"}`, m.n)))
	}
	m.Hub.ServeHTTP(w, r)
}

func TestAPlaceWithoutTheBlocksThatWereSentFailsTheUpload(t *testing.T) {
	play(t, func(s *stage) {
		s.network.Handle(host, &moving{Hub: s.hub})
		s.hub.SetUploadTTL(time.Minute)
		s.hub.Inject(hubtest.Fault{On: hubtest.BlobPut, Delay: 20 * time.Second, Times: -1})
		conn := s.connect()
		err := s.upload(conn, content(20_000), hubconn.UploadOptions{BlockSize: 1000})
		s.is(err, hubconn.Server)
		assert.ErrorContains(s, err, "another place")
		assert.Equal(s, 1, s.told()-1)
		s.uploaded(false)
		for _, name := range []string{"dev1/log-1.txt", "dev1/log-2.txt"} {
			_, ok := s.hub.Blob(name)
			assert.False(s, ok, "no half a file")
		}
	})
}

// Storage refuses whatever token it is shown.
func TestANewTokenThatIsRefusedTooFailsTheUpload(t *testing.T) {
	play(t, func(s *stage) {
		s.hub.Inject(hubtest.Fault{
			On: hubtest.BlobPut, Skip: 3, Status: 403, ErrorCode: "AuthenticationFailed", Times: -1,
		})
		conn := s.connect()
		err := s.upload(conn, content(20_000), hubconn.UploadOptions{BlockSize: 1000})
		assert.Equal(s, 403, s.is(err, hubconn.Caller).Status)
		assert.Equal(s, 2, s.told())
		s.uploaded(false)
		assert.Equal(s, 5, s.puts())
	})
}

func TestTheHubIsToldOnceThatAnUploadWentWell(t *testing.T) {
	play(t, func(s *stage) {
		require.NoError(s, s.upload(s.connect(), content(10), hubconn.UploadOptions{}))
		told := 0
		for _, o := range s.hub.Operations() {
			if o.On == hubtest.UploadNotify {
				told++
			}
		}
		assert.Equal(s, 1, told)
	})
}

func TestTheHubIsToldWhateverHappens(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		assert.Panics(s, func() {
			_ = conn.Upload(s.Context(), "x", panicking{}, hubconn.UploadOptions{})
		})
		assert.Equal(s, 1, s.told())
		// the first time the hub is told, nothing comes of it
		s.hub.Inject(hubtest.Fault{On: hubtest.BlobPut, Status: 400})
		s.hub.Inject(hubtest.Fault{On: hubtest.UploadNotify, Status: 503})
		never := hubconn.UploadOptions{MaxRetries: -1} // but this
		s.is(s.upload(conn, content(10), never), hubconn.Caller)
		assert.Equal(s, 2, s.told())
		s.uploaded(false)
		// ctx ends in the middle of a long upload
		s.hub.SetUploadTTL(time.Minute)
		s.hub.Inject(hubtest.Fault{On: hubtest.BlobPut, Delay: 20 * time.Second, Times: -1})
		for _, seconds := range []time.Duration{30, 54, 90} {
			ctx, cancel := context.WithTimeout(s.Context(), seconds*time.Second)
			err := conn.Upload(ctx, "x", bytes.NewReader(content(20_000)), hubconn.UploadOptions{
				BlockSize: 1000,
			})
			cancel()
			assert.ErrorIs(s, err, context.DeadlineExceeded)
			s.told()
			s.uploaded(false)
		}
	})
}

// The place is over, the hub is in trouble while it is told of that, and gives no other.
func TestTheHubIsToldWhenThereIsNoOtherPlace(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		r, w := io.Pipe()
		go func() {
			_, _ = w.Write(content(1001))
			time.Sleep(59*time.Minute + 10*time.Second)
			_, _ = w.Write(content(10))
			_ = w.Close()
		}()
		s.hub.Inject(hubtest.Fault{On: hubtest.UploadNotify, Status: 503, Times: 2})
		s.hub.Inject(hubtest.Fault{On: hubtest.UploadStart, Skip: 1, Status: 400})
		err := conn.Upload(
			s.Context(), "x", r, hubconn.UploadOptions{BlockSize: 1000, MaxRetries: 1},
		)
		s.is(err, hubconn.Caller)
		s.uploaded(false)
	})
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("boom") }

// vault is a storage account that notes whom it takes its client for.
type vault struct {
	mu    sync.Mutex
	shown int // certificates
	auth  []string
}

func (*vault) ServeMQTT(nc net.Conn) { _ = nc.Close() }

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	v.mu.Lock()
	v.shown += len(r.TLS.PeerCertificates)
	v.auth = append(v.auth, r.Header.Get("Authorization"))
	v.mu.Unlock()
	w.Header().Set("x-ms-request-id", "1")
	w.WriteHeader(http.StatusCreated)
}

// The storage account gets neither the device's certificate, from wherever it came, nor its token.
func TestTheStorageAccountIsShownNoIdentity(t *testing.T) {
	play(t, func(s *stage) {
		v := &vault{}
		s.network.Handle(s.hub.BlobHost(), v)
		device := simnet.NewCA("Devices", time.Now()).Device("dev1")
		require.NoError(s, s.hub.Put(hubtest.Device{
			ID: "dev1", PrimaryThumbprint: hubtest.Thumbprint(device.Leaf),
		}))
		for name, config := range map[string]func(*tls.Config){
			"credential": func(*tls.Config) {},
			"base":       func(c *tls.Config) { c.Certificates = []tls.Certificate{device} },
			"callback": func(c *tls.Config) {
				c.GetClientCertificate = func(
					*tls.CertificateRequestInfo,
				) (*tls.Certificate, error) {
					return &device, nil
				}
			},
		} {
			s.dialer.TLSConfig = s.network.TLSConfig()
			config(s.dialer.TLSConfig)
			conn, err := s.dialer.Dial(s.Context(), s.at, clientCert{device})
			require.NoError(s, err)
			o := hubconn.UploadOptions{BlockSize: 1000}
			require.NoError(s, s.upload(conn, content(2500), o))
			assert.Zero(s, v.shown, name)
			require.NoError(s, conn.Close())
		}
		assert.Equal(s, make([]string, 12), v.auth)
	})
}

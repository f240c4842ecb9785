// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// holders are credentials of the stage's identity that the hub accepts: two certificates, and the
// key that it has anyway.
func (s *stage) holders() (first, second clientCert) {
	s.Helper()
	first = clientCert{s.network.CA().Device("dev1")}
	second = clientCert{s.network.CA().Device("dev1")}
	key := base64.StdEncoding.EncodeToString(s.key)
	one, two := hubtest.Thumbprint(first.chain.Leaf), hubtest.Thumbprint(second.chain.Leaf)
	if s.at.ModuleID != "" {
		require.NoError(s, s.hub.PutModule("dev1", hubtest.Module{
			ID: s.at.ModuleID, PrimaryKey: key, PrimaryThumbprint: one, SecondaryThumbprint: two,
		}))
		return first, second
	}
	require.NoError(s, s.hub.Put(hubtest.Device{
		ID: "dev1", PrimaryKey: key, PrimaryThumbprint: one, SecondaryThumbprint: two,
	}))
	return first, second
}

// stranger is a certificate that the hub refuses.
func (s *stage) stranger() clientCert { return clientCert{s.network.CA().Device("dev1")} }

// connectAs is connect with another credential.
func (s *stage) connectAs(c hubconn.Credential) *hubconn.Conn {
	s.Helper()
	conn, err := s.dialer.Dial(s.Context(), s.at, c)
	require.NoError(s, err)
	s.Cleanup(func() { _ = conn.Close() })
	return conn
}

// serves checks that a connection does what it is for.
func (s *stage) serves(conn *hubconn.Conn) {
	s.Helper()
	require.NoError(s, conn.Send(s.Context(), hubconn.Message{Body: []byte("serves")}))
	require.NoError(s, conn.Context().Err())
}

func TestTheCredentialChangesBehindTheConnection(t *testing.T) {
	for _, module := range []bool{false, true} {
		t.Run(map[bool]string{false: "device", true: "module"}[module], func(t *testing.T) {
			playEverywhere(t, func(s *stage) {
				if module {
					s.becomesModule()
				}
				first, second := s.holders()
				conn := s.connectAs(first)
				for n, credential := range []hubconn.Credential{second, s.key, first, s.key} {
					require.NoError(s, conn.SetCredential(s.Context(), credential))
					s.serves(conn)
					assert.Equal(s, n+2, s.accepted())
					assert.Equal(s, uint64(n+1), conn.Stats().Swapped)
				}
				assert.Equal(s, 5, len(s.hub.Attempts()))
			})
		})
	}
}

// From certificate to token the connection begins to be renewed, and back it ceases to be.
func TestTheTokenOfANewCredentialIsRenewed(t *testing.T) {
	play(t, func(s *stage) {
		s.hub.SetExpiryGrace(0)
		first, _ := s.holders()
		conn := s.connectAs(first)
		time.Sleep(3 * time.Hour)
		assert.Equal(s, 1, s.accepted())
		require.NoError(s, conn.SetCredential(s.Context(), s.key))
		time.Sleep(3 * time.Hour)
		renewed := conn.Stats().Renewed
		assert.GreaterOrEqual(s, renewed, uint64(3))
		assert.Equal(s, int(2+renewed), s.accepted())
		require.NoError(s, conn.SetCredential(s.Context(), first))
		time.Sleep(3 * time.Hour)
		s.serves(conn)
		assert.Equal(s, renewed, conn.Stats().Renewed)
		assert.Equal(s, int(3+renewed), s.accepted())
	})
}

func TestALinkOfAnotherCertificateResumesNoSession(t *testing.T) {
	for _, transport := range transports {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(transport.String()+" "+tls.VersionName(version), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStage(t, simnet.New(), transport)
					s.network.SetMaxTLSVersion(version)
					resumed := 0
					s.dialer.TLSConfig.VerifyConnection = func(state tls.ConnectionState) error {
						if state.DidResume {
							resumed++
						}
						return nil
					}
					s.dialer.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
					first, second := s.holders()
					conn := s.connectAs(first)
					for n, step := range []struct {
						credential hubconn.Credential
						resumed    int
					}{{second, 0}, {s.key, 0}, {s.key, 1}, {second, 2}, {first, 3}} {
						s.serves(conn)
						require.NoError(s, conn.SetCredential(s.Context(), step.credential))
						s.serves(conn)
						assert.Equal(s, step.resumed, resumed, "step %d", n)
					}
				})
			})
		}
	}
}

func TestARefusedCredentialLeavesTheFormerOneInForce(t *testing.T) {
	for name, row := range map[string]struct {
		fault hubtest.Fault
		class hubconn.Class
		code  byte
	}{
		"by the registry": {class: hubconn.Rejected, code: 5},
		"overloaded":      {hubtest.Fault{On: hubtest.Connect, ReturnCode: 3}, hubconn.Server, 3},
		"no CONNACK":      {hubtest.Fault{On: hubtest.Connect, NoAnswer: true}, hubconn.Unreachable, 0},
		"cut":             {hubtest.Fault{On: hubtest.Connect, Cut: true}, hubconn.Unreachable, 0},
		"no subscription": {hubtest.Fault{On: hubtest.Subscribe, SubackFailure: true}, hubconn.Server, 0},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				first, second := s.holders()
				for kind, former := range map[string]hubconn.Credential{
					"certificate": first, "token": s.key,
				} {
					conn := s.connectAs(former)
					_, err := conn.Twin(s.Context()) // a subscription
					require.NoError(s, err)
					credential := second
					if row.fault.On == 0 {
						credential = s.stranger()
					} else {
						s.hub.Inject(row.fault)
					}
					accepted := s.accepted()
					sent := make(chan error, 1)
					time.AfterFunc(time.Millisecond, func() {
						sent <- conn.Send(s.Context(), hubconn.Message{})
					})
					e := s.is(conn.SetCredential(s.Context(), credential), row.class)
					assert.Equal(s, "credential", e.Op)
					assert.Equal(s, row.code, e.ReturnCode)
					assert.Contains(s, e.Error(), "goes on with the former credential")
					require.NoError(s, <-sent)
					s.serves(conn)
					assert.Zero(s, conn.Stats().Swapped)
					assert.Greater(s, s.accepted(), accepted)
					accepted = s.accepted()
					time.Sleep(3 * time.Hour)
					s.serves(conn)
					assert.Equal(
						s, kind == "certificate", s.accepted() == accepted,
						"tokens are renewed again, certificates are not",
					)
					require.NoError(s, conn.Close())
				}
			})
		})
	}
}

// broken is a credential that is out of order.
type broken struct{ sasKey }

func (broken) Token(context.Context, string, time.Time) (string, error) {
	return "", errors.New("the chip does not answer")
}

// What fails before the link is left disturbs nothing.
func TestACredentialThatGetsNoNetworkConnectionDisturbsNothing(t *testing.T) {
	for name, row := range map[string]struct {
		fault func(*stage)
		with  func(*stage) hubconn.Credential
		class hubconn.Class
	}{
		"no network": {
			func(s *stage) { s.network.RefuseFor(host, time.Minute) },
			func(s *stage) hubconn.Credential { return s.key }, hubconn.Unreachable,
		},
		"untrusted": {
			func(s *stage) { s.network.SetCertificate(host, simnet.UnknownCA) },
			func(s *stage) hubconn.Credential { return s.key }, hubconn.Untrusted,
		},
		"no token": {
			func(*stage) {}, func(s *stage) hubconn.Credential { return broken{s.key} },
			hubconn.Unreachable,
		},
		"none": {
			func(*stage) {}, func(*stage) hubconn.Credential { return nil }, hubconn.Caller,
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				conn := s.connect()
				row.fault(s)
				ctx, cancel := context.WithCancel(s.Context())
				got := s.takes(ctx, conn, func(hubconn.Message) {})
				e := s.is(conn.SetCredential(s.Context(), row.with(s)), row.class)
				assert.Equal(s, "credential", e.Op)
				s.sendC2D("still")
				s.serves(conn)
				time.Sleep(time.Second)
				assert.Equal(s, []int{1}, s.delivered())
				assert.Equal(s, 1, s.accepted())
				cancel()
				assert.Equal(s, []string{"still"}, <-got)
			})
		})
	}
}

func TestTheConnectionEndsIfTheFormerCredentialIsRefusedToo(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		require.NoError(s, s.hub.Put(hubtest.Device{
			ID: "dev1", PrimaryKey: base64.StdEncoding.EncodeToString([]byte("another key here")),
		}))
		e := s.is(conn.SetCredential(s.Context(), s.stranger()), hubconn.Rejected)
		assert.Contains(s, e.Error(), "the former credential failed then, too: rejected")
		cause := s.ended(conn, hubconn.Rejected)
		assert.Equal(s, "credential", cause.Op)
		assert.Len(s, s.hub.Attempts(), 3)
		s.is(conn.SetCredential(s.Context(), s.key), hubconn.Rejected)
	})
}

// The first swap blocks in a credential that takes its time; the rest come one after the other.
type slow struct {
	hubconn.Credential
	d time.Duration
}

func (c slow) Certificate(ctx context.Context) (*tls.Certificate, error) {
	select {
	case <-time.After(c.d):
		return c.Credential.Certificate(ctx)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func TestCredentialsChangeOneAfterTheOther(t *testing.T) {
	play(t, func(s *stage) {
		first, second := s.holders()
		conn := s.connectAs(s.key)
		start := time.Now()
		var setting sync.WaitGroup
		for _, credential := range []hubconn.Credential{first, second, s.key, first} {
			setting.Go(func() {
				err := conn.SetCredential(s.Context(), slow{credential, 10 * time.Second})
				assert.NoError(s, err)
			})
		}
		setting.Go(func() {
			ctx, cancel := context.WithTimeout(s.Context(), time.Second)
			defer cancel()
			synctest.Wait() // for one of the others to be served
			err := conn.SetCredential(ctx, slow{first, 0})
			assert.ErrorIs(s, err, context.DeadlineExceeded, "it has waited for its turn")
			assert.Equal(s, time.Second, time.Since(start))
		})
		setting.Wait()
		assert.GreaterOrEqual(s, time.Since(start), 40*time.Second)
		assert.Equal(s, 5, s.accepted())
		s.serves(conn)
	})
}

func TestAChangeOfCredentialEndsWithItsContext(t *testing.T) {
	for name, prepare := range map[string]func(
		*stage, *hubconn.Conn, clientCert,
	) hubconn.Credential{
		"before": func(_ *stage, _ *hubconn.Conn, next clientCert) hubconn.Credential {
			return slow{next, time.Hour}
		},
		"after": func(s *stage, _ *hubconn.Conn, next clientCert) hubconn.Credential {
			s.hub.Inject(hubtest.Fault{On: hubtest.Connect, NoAnswer: true})
			return next
		},
		"loop body": func(s *stage, conn *hubconn.Conn, next clientCert) hubconn.Credential {
			s.sendC2D("long")
			s.takes(s.Context(), conn, func(hubconn.Message) { time.Sleep(time.Minute) })
			time.Sleep(time.Second)
			return next
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				first, second := s.holders()
				conn := s.connectAs(first)
				credential := prepare(s, conn, second)
				ctx, cancel := context.WithTimeout(s.Context(), 5*time.Second)
				defer cancel()
				start := time.Now()
				err := conn.SetCredential(ctx, credential)
				assert.ErrorIs(s, err, context.DeadlineExceeded)
				assert.Equal(s, 5*time.Second, time.Since(start))
				s.serves(conn)
				assert.Zero(s, conn.Stats().Swapped)
				assert.ErrorIs(s, conn.SetCredential(ctx, second), context.DeadlineExceeded)
				require.NoError(s, conn.SetCredential(s.Context(), second))
				s.serves(conn)
				require.NoError(s, conn.Close())
			})
		})
	}
}

// The message that a loop body has is acknowledged over the link that it came over; a body that
// takes too long gets it again, and is not handed it twice.
func TestAChangeOfCredentialWaitsForALoopBody(t *testing.T) {
	for name, row := range map[string]struct {
		body, wait time.Duration
		deliveries int
	}{
		"short": {time.Minute, time.Minute, 1}, "long": {time.Hour, 2 * time.Minute, 2},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				first, second := s.holders()
				conn := s.connectAs(first)
				s.sendC2D("work")
				ctx, cancel := context.WithCancel(s.Context())
				got := s.takes(ctx, conn, func(hubconn.Message) { time.Sleep(row.body) })
				synctest.Wait()
				start := time.Now()
				require.NoError(s, conn.SetCredential(s.Context(), second))
				assert.Equal(s, row.wait, time.Since(start).Round(time.Second))
				time.Sleep(2 * time.Hour)
				cancel()
				assert.Equal(s, []string{"work"}, <-got)
				assert.Equal(s, []int{row.deliveries}, s.delivered())
			})
		})
	}
}

func TestCloseDuringAChangeOfCredential(t *testing.T) {
	play(t, func(s *stage) {
		first, second := s.holders()
		for name, prepare := range map[string]func() hubconn.Credential{
			"before": func() hubconn.Credential { return slow{second, time.Hour} },
			"after": func() hubconn.Credential {
				s.hub.Inject(hubtest.Fault{On: hubtest.Connect, NoAnswer: true})
				return second
			},
		} {
			conn := s.connectAs(first)
			credential := prepare()
			result, queued := make(chan error, 1), make(chan error, 1)
			go func() { result <- conn.SetCredential(s.Context(), credential) }()
			time.Sleep(time.Second)
			go func() { queued <- conn.SetCredential(s.Context(), credential) }()
			time.Sleep(time.Second)
			start := time.Now()
			require.NoError(s, conn.Close())
			assert.ErrorIs(s, <-result, hubconn.ErrClosed, name)
			assert.ErrorIs(s, <-queued, hubconn.ErrClosed, name)
			assert.ErrorIs(s, context.Cause(conn.Context()), hubconn.ErrClosed)
			assert.Less(s, time.Since(start), time.Second, name)
			assert.ErrorIs(s, conn.SetCredential(s.Context(), s.key), hubconn.ErrClosed)
		}
	})
}

// A link that is lost while the next one is being made needs no other: the next one takes its
// place.
func TestALinkThatIsLostDuringAChangeOfCredential(t *testing.T) {
	play(t, func(s *stage) {
		first, second := s.holders()
		conn := s.connectAs(first)
		result := make(chan error, 1)
		go func() { result <- conn.SetCredential(s.Context(), slow{second, time.Minute}) }()
		time.Sleep(time.Second)
		s.hub.Disconnect("dev1")
		require.NoError(s, <-result)
		s.serves(conn)

		go func() { result <- conn.SetCredential(s.Context(), slow{broken{s.key}, time.Minute}) }()
		time.Sleep(time.Second)
		s.hub.Disconnect("dev1")
		s.is(<-result, hubconn.Unreachable)
		s.ended(conn, hubconn.Unreachable)
	})
}

// A renewal that cannot succeed is what a new credential may be for.
func TestANewCredentialComesBeforeTheNextTryOfARenewal(t *testing.T) {
	for name, fault := range map[string]hubtest.Fault{
		"with a link": {}, "without one": {On: hubtest.Connect, Skip: 1, ReturnCode: 3, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				first, _ := s.holders()
				failing := &failingToken{sasKey: s.key, fails: fault.On == 0}
				if fault.On != 0 {
					s.hub.Inject(fault)
				}
				conn := s.connectAs(failing)
				s.eventually("a renewal", func() bool {
					time.Sleep(10 * time.Second)
					return failing.count() >= 3
				})
				e := s.is(conn.SetCredential(s.Context(), broken{s.key}), hubconn.Unreachable)
				assert.Contains(s, e.Error(), "the renewal with the former credential goes on")
				s.hub.ClearFaults()
				require.NoError(s, conn.SetCredential(s.Context(), first))
				tokens := failing.count()
				time.Sleep(3 * time.Hour)
				s.serves(conn)
				assert.Equal(s, tokens, failing.count())
			})
		})
	}
}

// failingToken is a credential that has one token, and no other if it fails.
type failingToken struct {
	sasKey
	fails bool
	mu    sync.Mutex
	n     int
}

func (c *failingToken) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *failingToken) Token(ctx context.Context, r string, at time.Time) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; c.n > 1 && c.fails {
		return "", errors.New("the chip is locked")
	}
	return c.sasKey.Token(ctx, r, at)
}

// Ten goroutines send and a loop takes messages, all through fifty changes of credential.
// Properties are reported and methods called, too; or every tenth PUBACK is kept back, so that
// changes find messages in flight, some that the hub has and some that it has not.
func TestFiftyChangesOfCredentialLoseNoMessage(t *testing.T) {
	for _, faulty := range []bool{false, true} {
		t.Run(map[bool]string{false: "good hub", true: "PUBACKs kept back"}[faulty], func(
			t *testing.T,
		) {
			play(t, func(s *stage) { loseNothing(s, faulty) })
		})
	}
}

func loseNothing(s *stage, faulty bool) {
	s.dialer.TokenTTL, s.dialer.AckTimeout = time.Minute, time.Hour
	for i := range 100 {
		if faulty {
			s.hub.Inject(hubtest.Fault{
				On: hubtest.Publish, Skip: 9, NoAnswer: true, Stored: i%2 == 0,
			})
		}
	}
	first, second := s.holders()
	conn := s.connectAs(first)
	working, stop := context.WithCancel(s.Context())
	defer stop()
	var sending sync.WaitGroup
	var sent atomic.Int64
	for i := range 10 {
		sending.Go(func() {
			for j := 0; working.Err() == nil; j++ {
				body := fmt.Appendf(nil, "%d/%d", i, j)
				if !assert.NoError(s, conn.Send(s.Context(), hubconn.Message{Body: body})) {
					return
				}
				sent.Add(1)
				time.Sleep(time.Duration(1+(i*7+j*13)%29) * 100 * time.Millisecond)
			}
		})
	}
	loop, end := context.WithCancel(s.Context())
	defer end()
	got := s.takes(loop, conn, func(hubconn.Message) { time.Sleep(200 * time.Millisecond) })
	var calls atomic.Int64
	served := make(chan error, 1)
	go func() {
		served <- conn.HandleMethods(loop, hubconn.Methods{Default: func(
			context.Context, hubconn.MethodRequest,
		) (int, any, error) {
			calls.Add(1)
			return 200, nil, nil
		}})
	}()
	messages, reports := 0, 0
	sending.Go(func() {
		for ; working.Err() == nil; messages++ {
			s.sendC2D(fmt.Sprint(messages))
			time.Sleep(3 * time.Second)
		}
	})
	if !faulty {
		sending.Go(func() {
			for working.Err() == nil {
				reports++
				_, err := conn.Report(s.Context(), object{"n": reports})
				assert.NoError(s, err)
				time.Sleep(2 * time.Second)
			}
		})
	}
	const swaps = 50
	for n := range swaps {
		credential := []hubconn.Credential{second, s.key, first}[n%3]
		require.NoError(s, conn.SetCredential(s.Context(), credential), "swap %d", n)
		if !faulty {
			_, _, err := s.hub.Invoke(s.Context(), s.id(), "m", n, hubtest.InvokeOptions{
				ConnectTimeout: time.Minute,
			})
			require.NoError(s, err)
		}
		time.Sleep(time.Duration(1+n%7) * time.Second)
	}
	stop()
	if faulty { // what the hub has not acknowledged goes over the next link
		time.Sleep(time.Minute)
		require.NoError(s, conn.SetCredential(s.Context(), first))
	}
	sending.Wait()
	time.Sleep(time.Minute)
	end()
	assert.ErrorIs(s, <-served, context.Canceled)
	seen := map[string]bool{}
	for _, m := range s.hub.Messages() {
		seen[string(m.Body)] = true
	}
	assert.Len(s, seen, int(sent.Load()))
	assert.Greater(s, len(seen), 500)
	assert.Equal(s, faulty, len(s.hub.Messages()) > len(seen), "some were sent again")
	assert.Len(s, <-got, messages, "each message once")
	assert.Len(s, s.delivered(), messages)
	if !faulty {
		assert.Equal(s, int64(swaps), calls.Load())
		twin, _ := s.hub.Twin("dev1")
		assert.InDelta(s, reports, twin.Reported["n"], 0)
	}
	assert.GreaterOrEqual(s, conn.Stats().Swapped, uint64(swaps))
	require.NoError(s, conn.Context().Err())
}

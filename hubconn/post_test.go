// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/retry"
)

func (s *stage) post(messages ...hubconn.Message) error {
	return s.dialer.Post(s.Context(), s.at, s.key, messages...)
}

func TestAMessageIsPostedWithItsProperties(t *testing.T) {
	for _, module := range []bool{false, true} {
		playEverywhere(t, func(s *stage) {
			if module {
				s.becomesModule()
			}
			m := hubconn.Message{
				Body: []byte{0, 1, 255}, MessageID: "m1", CorrelationID: "c 1",
				ContentType: "application/json", ContentEncoding: "utf-8",
				CreationTime: time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC), Component: "sensor",
				Properties: map[string]string{"level": "warm & rising", "x.y_z": "1"},
			}
			require.NoError(s, s.post(m))
			require.NoError(s, s.post(m, hubconn.Message{}, hubconn.Message{Body: []byte("third")}))
			messages := s.hub.Messages()
			require.Len(s, messages, 4)
			for _, got := range messages[:2] {
				assert.Equal(s, "https", got.Transport)
				assert.Equal(s, s.at.ModuleID, got.ModuleID)
				assert.Equal(s, m.Body, got.Body)
				assert.Equal(s, m.Properties, got.Properties)
				for name, want := range map[string]string{
					"$.mid": "m1", "$.cid": "c 1", "$.ct": "application/json", "$.ce": "utf-8",
					"$.sub": "sensor",
				} {
					assert.Equal(s, want, got.System[name], name)
				}
			}
			assert.Empty(s, messages[2].Body)
			assert.Equal(s, "third", string(messages[3].Body))
			assert.Empty(s, s.hub.Attempts(), "no connection")
		})
	}
}

func TestPostWithACertificate(t *testing.T) {
	play(t, func(s *stage) {
		cert := s.network.CA().Device("dev2")
		require.NoError(s, s.hub.Put(
			hubtest.Device{ID: "dev2", PrimaryThumbprint: hubtest.Thumbprint(cert.Leaf)},
		))
		s.at.DeviceID = "dev2"
		require.NoError(s, s.dialer.Post(
			s.Context(), s.at, clientCert{cert}, hubconn.Message{Body: []byte("x")},
		))
		assert.Len(s, s.hub.Messages(), 1)
		err := s.dialer.Post(
			s.Context(), s.at, clientCert{s.network.CA().Device("dev2")}, hubconn.Message{},
		)
		s.is(err, hubconn.Rejected)
	})
}

func TestWhatHTTPSCannotCarryIsRefusedAndNotSent(t *testing.T) {
	play(t, func(s *stage) {
		half := hubconn.Message{Body: make([]byte, hubconn.MaxMessageSize/2)}
		for name, messages := range map[string][]hubconn.Message{
			"nothing":         {},
			"too large":       {{Body: make([]byte, hubconn.MaxMessageSize+1)}},
			"batch as sent":   {{Body: make([]byte, 150_000)}, {Body: make([]byte, 60_000)}},
			"batch too large": {half, half, {Body: []byte("x")}},
			"name":            {{Properties: map[string]string{"a b": ""}}},
			"name in batch":   {{}, {Properties: map[string]string{"größe": ""}}},
			"value":           {{Properties: map[string]string{"a": "10 µm"}}},
			"line":            {{Properties: map[string]string{"a": "b\r\nc: d"}}},
			"space":           {{MessageID: " 1"}},
			"output":          {{Output: "o"}},
		} {
			e := s.is(s.post(messages...), hubconn.Caller)
			assert.Equal(s, "post", e.Op, name)
		}
		assert.Zero(s, s.network.Dials(host))
		require.NoError(s, s.post(hubconn.Message{Body: make([]byte, hubconn.MaxMessageSize)}))
		require.NoError(s, s.post(hubconn.Message{Body: make([]byte, 150_000)}, hubconn.Message{
			Body: make([]byte, 40_000),
		}))
		for _, at := range []hubconn.Hub{
			{Host: host}, {DeviceID: "d"}, {Host: host, DeviceID: "d", ModuleID: "a/b"},
		} {
			assert.Equal(s, hubconn.Caller, hubconn.ClassOf(
				s.dialer.Post(s.Context(), at, s.key, hubconn.Message{}),
			))
		}
	})
}

func TestTheHubsAnswerDecidesTheClass(t *testing.T) {
	for _, row := range []struct {
		fault   hubtest.Fault
		class   hubconn.Class
		verdict retry.Verdict
		code    int
		after   time.Duration
	}{
		{hubtest.Fault{Status: 429, ErrorCode: "ThrottlingException"}, hubconn.Throttled, retry.Wait, 429001, 10 * time.Second},
		{hubtest.Fault{Status: 429, ErrorCode: "ThrottlingException", RetryAfter: "77"}, hubconn.Throttled, retry.Wait, 429001, 77 * time.Second},
		{hubtest.Fault{Status: 429}, hubconn.Throttled, retry.Wait, 429000, 10 * time.Second},
		{hubtest.Fault{Status: 500, ErrorCode: "ServerError"}, hubconn.Server, retry.Wait, 500001, 0},
		{hubtest.Fault{Status: 503}, hubconn.Server, retry.Wait, 503000, 0},
		{hubtest.Fault{Status: 403, ErrorCode: "IotHubQuotaExceeded", Code: 403002}, hubconn.Throttled, retry.Wait, 403002, 10 * time.Second},
		{hubtest.Fault{Status: 401, ErrorCode: "IotHubUnauthorized"}, hubconn.Rejected, retry.Register, 401003, 0},
		{hubtest.Fault{Status: 403, ErrorCode: "DeviceDisabled"}, hubconn.Rejected, retry.Register, 403012, 0},
		{hubtest.Fault{Status: 404, ErrorCode: "DeviceNotFound"}, hubconn.Rejected, retry.Register, 404001, 0},
		{hubtest.Fault{Status: 404, ErrorCode: "IotHubFailingOver", Code: 404012}, hubconn.Server, retry.Wait, 404012, 0},
		{hubtest.Fault{Status: 404}, hubconn.Unreachable, retry.Wait, 404000, 0},
		{hubtest.Fault{Status: 407}, hubconn.Unreachable, retry.Wait, 407000, 0},
		{hubtest.Fault{Status: 400, ErrorCode: "ArgumentInvalid"}, hubconn.Caller, retry.Stop, 400004, 0},
		{hubtest.Fault{Status: 400, ErrorCode: "RequestTimedOut"}, hubconn.Server, retry.Wait, 400024, 0},
		{hubtest.Fault{Status: 412, ErrorCode: "PreconditionFailed"}, hubconn.Caller, retry.Stop, 412001, 0},
		{hubtest.Fault{Status: 413, ErrorCode: "MessageTooLarge"}, hubconn.Caller, retry.Stop, 413001, 0},
		{hubtest.Fault{Status: 415, ErrorCode: "GenericUnsupportedMediaType"}, hubconn.Caller, retry.Stop, 415000, 0},
		{hubtest.Fault{Status: 302}, hubconn.Unreachable, retry.Wait, 302000, 0},
	} {
		t.Run(fmt.Sprint(row.fault.Status, " ", row.fault.ErrorCode), func(t *testing.T) {
			play(t, func(s *stage) {
				row.fault.On = hubtest.Send
				s.hub.Inject(row.fault)
				err := s.post(hubconn.Message{})
				e := s.is(err, row.class)
				assert.Equal(s, "post", e.Op)
				assert.Equal(s, row.fault.Status, e.Status)
				assert.Equal(s, row.code, e.Code)
				assert.Equal(s, row.verdict, retry.Classify(err))
				assert.Equal(s, row.after, retry.After(err))
				assert.Contains(s, err.Error(), fmt.Sprint("status ", row.fault.Status))
				require.NoError(s, s.post(hubconn.Message{}))
			})
		})
	}
}

func TestPostMeetsTheNetworksTroubles(t *testing.T) {
	play(t, func(s *stage) {
		for fault, class := range map[simnet.Fault]hubconn.Class{
			simnet.NameNotFound: hubconn.Unreachable, simnet.Refused: hubconn.Unreachable,
			simnet.Blackhole: hubconn.Unreachable, simnet.ResetOnAccept: hubconn.Unreachable,
		} {
			s.network.SetFault(host, fault)
			start := time.Now()
			s.is(s.post(hubconn.Message{}), class)
			assert.LessOrEqual(s, time.Since(start), 105*time.Second)
		}
		s.network.SetFault(host, simnet.None)
		s.network.SetCertificate(host, simnet.UnknownCA)
		s.is(s.post(hubconn.Message{}), hubconn.Untrusted)
		assert.Empty(s, s.hub.Operations(), "no credential was sent")
		s.network.SetCertificate(host, simnet.Valid)

		s.hub.Inject(hubtest.Fault{On: hubtest.Send, NoAnswer: true})
		start := time.Now()
		s.is(s.post(hubconn.Message{}), hubconn.Unreachable)
		assert.Equal(s, 105*time.Second, time.Since(start))
		s.hub.Inject(hubtest.Fault{On: hubtest.Send, Cut: true})
		s.is(s.post(hubconn.Message{}), hubconn.Unreachable)

		s.hub.Inject(hubtest.Fault{On: hubtest.Send, NoAnswer: true})
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		err := s.dialer.Post(ctx, s.at, s.key, hubconn.Message{})
		s.is(err, hubconn.Unreachable)
		assert.ErrorIs(s, err, context.DeadlineExceeded)
		s.hub.Disable("dev1")
		s.is(s.post(hubconn.Message{}), hubconn.Rejected)
		s.hub.Delete("dev1")
		s.is(s.post(hubconn.Message{}), hubconn.Rejected)
	})
}

func TestMessagesAreReceivedAndSettledOverHTTPS(t *testing.T) {
	playEverywhere(t, func(s *stage) {
		receive := func() *hubconn.Delivery {
			d, err := s.dialer.Receive(s.Context(), s.at, s.key)
			require.NoError(s, err)
			return d
		}
		assert.Nil(s, receive())
		expiry := s.network.Now().Add(time.Hour).Truncate(time.Second).UTC()
		require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{
			Body: []byte{0, 1, 255}, Properties: map[string]string{"a": "b c"}, MessageID: "m1",
			CorrelationID: "c1", UserID: "u", Ack: "full", Expiry: expiry,
		}))
		d := receive()
		require.NotNil(s, d)
		assert.NotEmpty(s, d.LockToken)
		assert.WithinDuration(s, s.network.Now(), d.EnqueuedTime, time.Minute)
		assert.WithinDuration(s, expiry, d.Expiry, time.Second)
		got := d.Message
		got.LockToken, got.EnqueuedTime, got.Expiry = "", time.Time{}, time.Time{}
		assert.Zero(s, got.DeliveryCount)
		assert.NotZero(s, got.SequenceNumber)
		got.SequenceNumber = 0
		assert.Equal(s, hubconn.Message{
			Body: []byte{0, 1, 255}, Properties: map[string]string{"a": "b c"}, MessageID: "m1",
			CorrelationID: "c1", UserID: "u", Ack: "full", To: "/devices/dev1/messages/deviceBound",
		}, got)
		assert.Nil(s, receive(), "it is locked")
		require.NoError(s, d.Abandon(s.Context()))
		d = receive()
		require.NotNil(s, d)
		assert.Equal(s, 1, d.DeliveryCount)
		require.NoError(s, d.Complete(s.Context()))
		assert.Nil(s, receive())
		require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{}))
		require.NoError(s, receive().Reject(s.Context()))
		assert.Nil(s, receive())
		settled := s.hub.SettledC2D()
		require.Len(s, settled, 2)
		assert.Equal(s, hubtest.OutcomeSuccess, settled[0].Outcome)
		assert.Equal(s, hubtest.OutcomeRejected, settled[1].Outcome)
	})
}

func TestALockThatIsGoneIsTheCallersFault(t *testing.T) {
	play(t, func(s *stage) {
		require.NoError(
			s, s.hub.SendC2D("dev1", hubtest.C2D{Body: []byte(strings.Repeat("x", 64<<10))}),
		)
		d, err := s.dialer.Receive(s.Context(), s.at, s.key)
		require.NoError(s, err)
		assert.Len(s, d.Body, 64<<10)
		time.Sleep(61 * time.Second)
		for op, settle := range map[string]func(context.Context) error{
			"complete": d.Complete, "abandon": d.Abandon, "reject": d.Reject,
		} {
			e := s.is(settle(s.Context()), hubconn.Caller)
			assert.Equal(s, op, e.Op)
			assert.Contains(s, []int{404, 412}, e.Status)
		}
		for _, status := range []int{404, 412, 400} {
			s.hub.Inject(hubtest.Fault{On: hubtest.Settle, Status: status})
			s.is(d.Complete(s.Context()), hubconn.Caller)
		}
		s.hub.Inject(hubtest.Fault{
			On: hubtest.Settle, Status: 429, ErrorCode: "ThrottlingException",
		})
		s.is(d.Complete(s.Context()), hubconn.Throttled)
		s.hub.Disable("dev1")
		s.is(d.Complete(s.Context()), hubconn.Rejected)

		_, err = s.dialer.Receive(
			s.Context(), hubconn.Hub{Host: host, DeviceID: "dev1", ModuleID: "m"}, s.key,
		)
		assert.Equal(s, hubconn.Caller, hubconn.ClassOf(err))
	})
}

func TestTheLongestTimeoutIsNone(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.DialTimeout, s.dialer.ConnectTimeout = math.MaxInt64, math.MaxInt64
		s.dialer.AckTimeout = math.MaxInt64
		require.NoError(s, s.post(hubconn.Message{}))
		conn := s.connect()
		require.NoError(s, s.upload(conn, []byte("x"), hubconn.UploadOptions{}))
		require.NoError(s, conn.Send(s.Context(), hubconn.Message{}))
		_, err := conn.Twin(s.Context())
		require.NoError(s, err)
		require.NoError(s, conn.Close())
	})
}

// A batch of as many messages as BatchLen says is taken, and one of one more is not.
func TestABatchIsAsLongAsTheHubTakesIt(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	play(t, func(s *stage) {
		assert.Zero(s, hubconn.BatchLen(nil))
		for range 40 {
			var all []hubconn.Message
			most := 1 + random.IntN(4000)
			for range 400_000 / most {
				m := hubconn.Message{Body: make([]byte, random.IntN(most))}
				if random.IntN(2) == 0 {
					m.MessageID, m.Properties = `a"<b>\`, map[string]string{"level": "&"}
				}
				all = append(all, m)
			}
			if n := hubconn.BatchLen(all); n < len(all) {
				require.NoError(s, s.post(all[:n]...))
				require.Equal(s, hubconn.Caller, hubconn.ClassOf(s.post(all[:n+1]...)))
			}
		}
		wrong := hubconn.Message{Properties: map[string]string{"a b": ""}}
		assert.Equal(s, 1, hubconn.BatchLen([]hubconn.Message{wrong, {}}))
		assert.Equal(s, 2, hubconn.BatchLen([]hubconn.Message{{}, {}, wrong, {}}))
		large := hubconn.Message{Body: make([]byte, hubconn.MaxMessageSize)}
		assert.Equal(s, 1, hubconn.BatchLen([]hubconn.Message{large, {}}))
		require.NoError(s, s.post(large), "alone it is not encoded")
	})
}

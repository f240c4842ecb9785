// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/retry"
)

type object = map[string]any

func TestATwinIsReadAndReported(t *testing.T) {
	for _, module := range []bool{false, true} {
		playEverywhere(t, func(s *stage) {
			if module {
				s.becomesModule()
			}
			_, err := s.hub.PatchDesired(s.id(), object{
				"target": 21.5, "big": json.Number("4503599627370495"),
				"deep": object{"a": object{"b": "c"}},
			})
			require.NoError(s, err)
			conn := s.connect()
			before, err := conn.Twin(s.Context())
			require.NoError(s, err)

			version, err := conn.Report(
				s.Context(), object{"a": 1, "b": object{"c": "d", "e": true}},
			)
			require.NoError(s, err)
			assert.Equal(s, before.Reported.Version+1, version)
			version, err = conn.Report(s.Context(), struct {
				A *int `json:"a"`
				B any  `json:"b"`
			}{B: object{"c": nil}})
			require.NoError(s, err)
			assert.Equal(s, before.Reported.Version+2, version)

			twin, err := conn.Twin(s.Context())
			require.NoError(s, err)
			assert.Equal(
				s, hubconn.Properties{Version: version, JSON: json.RawMessage(`{"b":{"e":true}}`)},
				twin.Reported,
			)
			assert.Equal(s, before.Desired, twin.Desired)
			assert.JSONEq(
				s, `{"target":21.5,"big":4503599627370495,"deep":{"a":{"b":"c"}}}`,
				string(twin.Desired.JSON),
			)
			assert.Contains(
				s, string(twin.Desired.JSON), "4503599627370495", "numbers keep their digits",
			)
			var desired struct{ Target float64 }
			require.NoError(s, twin.Desired.Decode(&desired))
			assert.Equal(s, 21.5, desired.Target)

			stored, ok := s.hub.Twin(s.id())
			require.True(s, ok)
			assert.Equal(s, stored.ReportedVersion, version)
			assert.Equal(s, stored.DesiredVersion, twin.Desired.Version)
		})
	}
}

func TestAReportThatIsNoneIsRefusedAndNotSent(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		text := func(n int) object { return object{"a": strings.Repeat("x", n-len("a"))} }
		for name, patch := range map[string]any{
			"text": "x", "null": nil, "array": []int{1}, "number": 7, "no JSON": make(chan int),
			"raw": json.RawMessage("[]"), "too large": text(32<<10 + 1),
		} {
			_, err := conn.Report(s.Context(), patch)
			assert.Equal(s, "report", s.is(err, hubconn.Caller).Op, name)
			assert.Equal(s, retry.Stop, retry.Classify(err), name)
		}
		assert.Zero(s, conn.Stats().Responses, "not even a subscription")

		// At the limit it goes to the hub, which has limits of its own: this one for the length of
		// a text.
		_, err := conn.Report(s.Context(), text(32<<10))
		e := s.is(err, hubconn.Caller)
		assert.Equal(s, 400, e.Status)
		parts := object{}
		for i := range 8 {
			parts[string(rune('a'+i))] = strings.Repeat("x", 4000)
		}
		_, err = conn.Report(s.Context(), parts)
		require.NoError(s, err)
		require.NoError(s, conn.Context().Err())
	})
}

// The hub counts names and values; quotes, braces and what is deleted have no size.
func TestAReportIsMeasuredAsTheHubDoes(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		flags, deletions := object{}, object{}
		for i := range 3200 {
			flags[fmt.Sprintf("p%04d", i)] = false // 9 of 32,768, and 14 in JSON
			deletions[fmt.Sprintf("p%04d", i)] = nil
		}
		_, err := conn.Report(s.Context(), flags)
		require.NoError(s, err)
		_, err = conn.Report(s.Context(), deletions)
		require.NoError(s, err)
		_, err = conn.Report(s.Context(), object{
			"a": strings.Repeat("ä", 2000), "b": []any{strings.Repeat("\n", 4000), 1.5, true, nil},
		})
		require.NoError(s, err)

		// Nothing that the hub would end the connection for leaves the device.
		many := object{}
		for i := range 30000 {
			many[fmt.Sprintf("p%05d", i)] = nil
		}
		_, err = conn.Report(s.Context(), many)
		assert.Zero(s, s.is(err, hubconn.Caller).Status)
		require.NoError(s, conn.Context().Err())
	})
}

func TestWhatTheHubAnswersATwinOperationReachesTheCaller(t *testing.T) {
	for _, row := range []struct {
		fault hubtest.Fault
		class hubconn.Class
		code  int
	}{
		{hubtest.Fault{Status: 400, Code: 400004, Message: "bad"}, hubconn.Caller, 400004},
		{hubtest.Fault{Status: 400}, hubconn.Caller, 400000},
		{hubtest.Fault{Status: 401}, hubconn.Caller, 401000},
		{hubtest.Fault{Status: 404, Code: 404001}, hubconn.Caller, 404001},
		{hubtest.Fault{Status: 404, Code: 404012}, hubconn.Server, 404012},
		{hubtest.Fault{Status: 412}, hubconn.Caller, 412000},
		{hubtest.Fault{Status: 413, Code: 413001}, hubconn.Caller, 413001},
		{hubtest.Fault{Status: 500}, hubconn.Server, 500000},
		{hubtest.Fault{Status: 503, Code: 503001}, hubconn.Server, 503001},
	} {
		play(t, func(s *stage) {
			conn := s.connect()
			row.fault.Times = 2
			row.fault.On = hubtest.TwinPatch
			s.hub.Inject(row.fault)
			row.fault.On = hubtest.TwinGet
			s.hub.Inject(row.fault)
			start := time.Now()
			_, report := conn.Report(s.Context(), object{"a": 1})
			_, get := conn.Twin(s.Context())
			for op, err := range map[string]error{"report": report, "twin": get} {
				e := s.is(err, row.class)
				assert.Equal(s, op, e.Op)
				assert.Equal(s, row.fault.Status, e.Status)
				assert.Equal(s, row.code, e.Code)
				assert.NotEmpty(s, e.TrackingID)
				assert.Contains(s, err.Error(), "status")
				assert.NotContains(s, err.Error(), "WebSocket")
			}
			assert.Zero(s, time.Since(start), "nothing is tried again")
			require.NoError(s, conn.Context().Err())
			require.NoError(s, conn.Send(s.Context(), hubconn.Message{}))
		})
	}
}

func TestAThrottledTwinOperationWaitsAndGoesOn(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		for _, stage := range []hubtest.Stage{hubtest.TwinPatch, hubtest.TwinGet} {
			s.hub.Inject(hubtest.Fault{On: stage, Status: 429, Times: 4})
			start := time.Now()
			var err error
			if stage == hubtest.TwinPatch {
				_, err = conn.Report(s.Context(), object{"a": 1})
			} else {
				_, err = conn.Twin(s.Context())
			}
			require.NoError(s, err)
			assert.GreaterOrEqual(s, time.Since(start), 40*time.Second, "10 s each at least")
			assert.LessOrEqual(s, time.Since(start), (40+5+10+20+40)*time.Second)
		}
		require.NoError(s, conn.Context().Err())
		assert.Equal(s, 1, s.accepted(), "the link stays")

		s.hub.Inject(hubtest.Fault{On: hubtest.TwinPatch, Status: 429, Times: -1})
		ctx, cancel := context.WithTimeout(s.Context(), time.Hour)
		defer cancel()
		_, err := conn.Report(ctx, object{"a": 2})
		e := s.is(err, hubconn.Throttled)
		assert.Equal(s, 429, e.Status)
		assert.ErrorIs(s, err, context.DeadlineExceeded)
		tries := 0
		for _, o := range s.hub.Operations() {
			if o.On == hubtest.TwinPatch {
				tries++
			}
		}
		assert.Less(s, tries, 5+60, "and it gets slower")

		result := make(chan error, 1)
		go func() { _, err := conn.Report(s.Context(), object{"a": 3}); result <- err }()
		time.Sleep(5 * time.Second)
		require.NoError(s, conn.Close())
		assert.ErrorIs(s, <-result, hubconn.ErrClosed)
	})
}

func TestALostAnswerIsGivenUpAfterHalfAMinute(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.hub.Inject(hubtest.Fault{On: hubtest.TwinPatch, NoAnswer: true, Stored: true})
		start := time.Now()
		_, err := conn.Report(s.Context(), object{"a": 1})
		s.is(err, hubconn.Unreachable)
		assert.Equal(s, 30*time.Second, time.Since(start))
		require.NoError(s, conn.Context().Err())
		twin, err := conn.Twin(s.Context())
		require.NoError(s, err)
		assert.JSONEq(s, `{"a":1}`, string(twin.Reported.JSON))

		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		s.hub.Inject(hubtest.Fault{On: hubtest.TwinGet, NoAnswer: true})
		_, err = conn.Twin(ctx)
		s.is(err, hubconn.Unreachable)
		assert.ErrorIs(s, err, context.DeadlineExceeded)
	})
}

func TestATwinOperationEndsWithTheConnection(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.hub.Inject(hubtest.Fault{On: hubtest.TwinPatch, Cut: true})
		_, err := conn.Report(s.Context(), object{"a": 1})
		assert.Error(s, conn.Context().Err(), "the context is done before Report returns")
		s.is(err, hubconn.Unreachable)
		assert.ErrorIs(s, err, context.Cause(conn.Context()))
		_, err = conn.Twin(s.Context())
		s.is(err, hubconn.Unreachable)
	})
}

// Whatever a renewal does to the answers on their way, no caller learns of it.
func TestTwinOperationsGoOnThroughRenewals(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL = time.Minute
		s.hub.Inject(hubtest.Fault{On: hubtest.TwinPatch, Delay: 300 * time.Millisecond, Times: -1})
		conn := s.connect()
		var working sync.WaitGroup
		for i := range 4 {
			working.Go(func() {
				last := int64(0)
				for j := range 700 {
					version, err := conn.Report(s.Context(), object{string(rune('a' + i)): j})
					if !assert.NoError(s, err) {
						return
					}
					assert.Greater(s, version, last)
					last = version
					time.Sleep(500 * time.Millisecond)
				}
			})
		}
		working.Wait()
		assert.Greater(s, s.accepted(), 8)
		twin, err := conn.Twin(s.Context())
		require.NoError(s, err)
		assert.JSONEq(s, `{"a":699,"b":699,"c":699,"d":699}`, string(twin.Reported.JSON))
		assert.GreaterOrEqual(s, twin.Reported.Version, int64(2800))
	})
}

func TestPlugAndPlay(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.ModelID = "dtmi:com:example:Thermostat;1"
		conn := s.connect()
		assert.Equal(s, "dtmi:com:example:Thermostat;1", s.hub.Attempts()[0].ModelID)
		patch := hubconn.Component("thermostat1", object{
			"target": hubconn.PropertyAck{Value: 21.5, Code: 200, Version: 7, Description: "done"},
			"old":    nil,
		})
		patch["serial"] = "x1"
		_, err := conn.Report(s.Context(), patch)
		require.NoError(s, err)
		twin, err := conn.Twin(s.Context())
		require.NoError(s, err)
		assert.JSONEq(
			s,
			`{"serial":"x1","thermostat1":{"__t":"c","target":{"value":21.5,"ac":200,"av":7,"ad":"done"}}}`,
			string(twin.Reported.JSON),
		)
	})
}

func TestAComponentIsAnObject(t *testing.T) {
	for want, properties := range map[string]any{
		`{"c":{"__t":"c"}}`:          object{},
		`{"c":{"__t":"c","a":1}}`:    struct{ A int }{1},
		`{"c":{"__t":"c","a":null}}`: object{"a": nil},
	} {
		if want == `{"c":{"__t":"c","a":1}}` {
			properties = struct {
				A int `json:"a"`
			}{1}
		}
		got, err := json.Marshal(hubconn.Component("c", properties))
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	got, err := json.Marshal(hubconn.Component("c", nil))
	require.NoError(t, err)
	assert.Equal(t, `{"c":{"__t":"c"}}`, string(got))
	for _, properties := range []any{1, []int{}, "x", make(chan int)} {
		_, err := json.Marshal(hubconn.Component("c", properties))
		assert.Error(t, err)
	}
	ack, err := json.Marshal(hubconn.PropertyAck{Value: nil, Code: 400})
	require.NoError(t, err)
	assert.Equal(t, `{"value":null,"ac":400,"av":0}`, string(ack))
}

func TestAModelIDThatIsNoneIsTheCallersFault(t *testing.T) {
	play(t, func(s *stage) {
		for _, id := range []string{"com:example;1", "dtmi:größe;1", "dtmi:a\nb;1"} {
			s.dialer.ModelID = id
			s.fails(hubconn.Caller)
		}
		s.dialer.ModelID, s.at.ModuleID = "", "a+b"
		s.fails(hubconn.Caller)
	})
}

// SPDX-License-Identifier: Apache-2.0

package simnet_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

func positions(events []*simnet.Event) (all []uint64) {
	for _, e := range events {
		all = append(all, e.Position)
	}
	return all
}

func TestEventsAreReadFromAPosition(t *testing.T) {
	var l simnet.EventLog
	events, missed := l.Read(0, 10)
	assert.Empty(t, events)
	assert.Zero(t, missed)
	for range 5 {
		l.Add(simnet.Event{Kind: simnet.EventTelemetry})
	}
	events, missed = l.Read(0, 2)
	assert.Equal(t, []uint64{1, 2}, positions(events))
	assert.Zero(t, missed)
	events, missed = l.Read(2, 10)
	assert.Equal(t, []uint64{3, 4, 5}, positions(events))
	assert.Zero(t, missed)
	events, missed = l.Read(5, 10)
	assert.Empty(t, events)
	assert.Zero(t, missed)
	events, missed = l.Read(99, 10) // ahead of the log
	assert.Empty(t, events)
	assert.Zero(t, missed)
	assert.EqualValues(t, 5, l.Last())
}

func TestAReaderThatIsLateIsToldHowManyEventsItMissed(t *testing.T) {
	l := simnet.EventLog{MaxEvents: 3}
	for range 10 {
		l.Add(simnet.Event{})
	}
	events, missed := l.Read(0, 2)
	assert.EqualValues(t, 7, missed)
	assert.Equal(t, []uint64{8, 9}, positions(events))
	_, missed = l.Read(5, 2)
	assert.EqualValues(t, 2, missed)
	_, missed = l.Read(7, 2)
	assert.Zero(t, missed)
}

func TestEventsAreBoundedInBytes(t *testing.T) {
	l := simnet.EventLog{MaxBytes: 1 << 20}
	for range 100 {
		l.Add(simnet.Event{Message: &simnet.EventMessage{Body: make([]byte, 100<<10)}})
	}
	events, missed := l.Read(0, 1000)
	assert.Len(t, events, 10, "a megabyte of 100 KiB each, and what they are written in")
	assert.EqualValues(t, 90, missed)
	l.Add(simnet.Event{Message: &simnet.EventMessage{Body: make([]byte, 2<<20)}})
	events, missed = l.Read(100, 10)
	assert.Equal(t, []uint64{101}, positions(events), "the newest, though it is above the bound")
	assert.Zero(t, missed)
	l.Add(simnet.Event{})
	events, missed = l.Read(100, 10)
	assert.Equal(t, []uint64{102}, positions(events))
	assert.EqualValues(t, 1, missed)
}

func TestAReaderIsWokenByTheNextEvent(t *testing.T) {
	var l simnet.EventLog
	changed := l.Changed()
	select {
	case <-changed:
		t.Fatal("nothing has happened")
	default:
	}
	l.Add(simnet.Event{})
	<-changed
	select {
	case <-l.Changed():
		t.Fatal("nothing more has happened")
	default:
	}
}

func TestANetworkRecordsByItsClockOnceItHasALog(t *testing.T) {
	n := simnet.ForTest(t)
	n.Record(simnet.Event{Kind: simnet.EventTwin}) // goes nowhere
	assert.False(t, n.Recording())
	var l simnet.EventLog
	n.RecordEvents(&l)
	assert.True(t, n.Recording())
	n.Record(simnet.Event{Kind: simnet.EventTelemetry})
	events, _ := l.Read(0, 10)
	require.Len(t, events, 1)
	assert.WithinDuration(t, n.Now(), events[0].Time, 10*time.Second)
	n.RecordEvents(nil)
	n.Record(simnet.Event{})
	assert.EqualValues(t, 1, l.Last())
}

func TestBodiesAreTextWhereTheyCanBe(t *testing.T) {
	for body, want := range map[string]string{
		`{"t":1}`: `{"body":"{\"t\":1}"}`, "\xff\x00": `{"bodyBase64":"/wA="}`, "": `{"body":""}`,
	} {
		text, err := json.Marshal(simnet.EventMessage{Body: []byte(body)})
		require.NoError(t, err)
		assert.JSONEq(t, want, string(text), "%q", body)
	}
}

// A log is written under the locks of hubs: what an event costs there is bounded.
func BenchmarkEventLog(b *testing.B) {
	l := simnet.EventLog{MaxEvents: 1000}
	for i := range b.N {
		l.Add(simnet.Event{Kind: simnet.EventTelemetry, DeviceID: fmt.Sprint(i)})
	}
}

// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

func TestAFullInboxDropsWhatTheHubKeeps(t *testing.T) {
	b := &inbox{}
	acknowledged := 0
	for i := range inboxSize + 3 {
		b.push(mqtt.Message{Topic: fmt.Sprint(i), Ack: func() { acknowledged++ }})
	}
	for i := range inboxSize {
		m, ok, dropped := b.pop()
		assert.True(t, ok)
		assert.Equal(t, fmt.Sprint(i), m.Topic)
		if i == 0 {
			assert.Equal(t, 3, dropped)
		} else {
			assert.Zero(t, dropped)
		}
	}
	_, ok, _ := b.pop()
	assert.False(t, ok)
	assert.Zero(t, acknowledged)
	b.push(mqtt.Message{})
	b.detach(false)
	_, ok, _ = b.pop()
	assert.False(t, ok, "what came over a former link comes again")
}

// What is at the hub and not counted here could be taken for what a body has finished with: then
// nothing is recognised, and all is yielded again.
func TestNothingIsRecognisedWhileEqualMessagesMayBeAtTheHub(t *testing.T) {
	acknowledged := 0
	m := mqtt.Message{Topic: "t", Ack: func() { acknowledged++ }}
	again := m
	again.Duplicate = true
	for name, before := range map[string]func(*inbox){
		"a body panicked": func(b *inbox) {
			b.push(m)
			_, _, _ = b.pop()
			b.finish(false)
		},
		"there was no room": func(b *inbox) {
			for range inboxSize + 1 {
				b.push(mqtt.Message{})
			}
			b.queue = nil
		},
	} {
		b := &inbox{}
		b.attach()
		b.claim()
		before(b)
		b.push(m)
		_, ok, _ := b.pop()
		assert.True(t, ok, name)
		b.detach(false)
		b.finish(true)
		b.attach()
		b.push(again)
		_, ok, _ = b.pop()
		assert.True(t, ok, name)
	}
	assert.Zero(t, acknowledged)
}

// What has not come again over a whole link will not: it does not wait for a message that is new.
func TestWhatDidNotComeAgainIsForgotten(t *testing.T) {
	m := mqtt.Message{Topic: "t", Duplicate: true, Ack: func() {}}
	b := &inbox{}
	b.attach()
	b.claim()
	b.push(m)
	_, _, _ = b.pop()
	b.detach(false)
	b.finish(true)
	for range 3 { // links that never came into use
		b.detach(false)
	}
	b.attach()
	b.detach(false)
	b.attach()
	b.push(m)
	_, ok, _ := b.pop()
	assert.True(t, ok)
}

func TestCallsWithoutRoomAreRefusedAndThenDropped(t *testing.T) {
	var c calls
	c.push(call{}) // nobody listens
	waiting, refused, ok := c.claim()
	assert.True(t, ok)
	_, _, again := c.claim()
	assert.False(t, again)
	for i := range 2*callQueue + 10 {
		c.push(call{id: fmt.Sprint(i), payload: []byte("x")})
	}
	assert.Len(t, waiting, callQueue)
	assert.Len(t, refused, callQueue)
	assert.Equal(t, "0", (<-waiting).id)
	first := <-refused
	assert.Equal(t, fmt.Sprint(callQueue), first.id)
	assert.Nil(t, first.payload)
	c.release()
	_, _, ok = c.claim()
	assert.True(t, ok)
}

func TestAPatchThatCannotBeReadOutdatesTheState(t *testing.T) {
	var fs feeds
	f := fs.open()
	fs.push(parsePatch(desiredPatches+"?$version=3", []byte(`{"a":1}`)))
	fs.push(parsePatch(desiredPatches+"?$version=4", []byte(`not JSON`)))
	_, ok, stale := f.pop()
	assert.False(t, ok)
	assert.True(t, stale)
	_, ok, stale = f.pop()
	assert.False(t, ok || stale, "once")
	fs.push(parsePatch(desiredPatches, []byte(`{"a":1,"$version":5}`)))
	p, ok, _ := f.pop()
	assert.True(t, ok)
	assert.EqualValues(t, 5, p.properties.Version)
	fs.close(f)
	fs.push(patch{})
	_, ok, stale = f.pop()
	assert.False(t, ok || stale)
}

// The state that is asked for in place of lost changes has to contain them: the hub may answer from
// before it sent them.
func TestTheVersionsOfLostChangesAreRemembered(t *testing.T) {
	var fs feeds
	f := fs.open()
	for i := range feedSize + 1 {
		fs.push(parsePatch(desiredPatches+"?$version="+strconv.Itoa(i+1), []byte(`{"a":1}`)))
	}
	p, ok, stale := f.pop()
	assert.False(t, ok)
	assert.True(t, stale)
	assert.EqualValues(t, feedSize+1, p.properties.Version)
	fs.push(parsePatch(desiredPatches+"?$version=99", []byte(`not JSON`)))
	p, _, stale = f.pop()
	assert.True(t, stale)
	assert.EqualValues(t, 99, p.properties.Version)
	fs.markStale()
	p, _, stale = f.pop()
	assert.True(t, stale)
	assert.Zero(t, p.properties.Version)
}

// What cannot be decoded here is not taken for another state, also after changes.
func TestAStateThatCannotBeDecodedEqualsAny(t *testing.T) {
	var s shadow
	s.add(Desired{Full: true, JSON: []byte(`{"a":1e999}`)})
	assert.True(t, s.equals([]byte(`{"a":1}`)))
	s.add(Desired{JSON: []byte(`{"b":1}`)})
	assert.True(t, s.equals([]byte(`{"a":1}`)))
	s.add(Desired{Full: true, JSON: []byte(`{"a":1}`)})
	assert.True(t, s.equals([]byte(`{"a":1}`)))
	assert.False(t, s.equals([]byte(`{"a":2}`)))
}

func TestMessagesOfOtherTopicsAreLeftToTheHub(t *testing.T) {
	c := newConn(t.Context(), Dialer{}, Hub{Host: "h", DeviceID: "d"}, nil)
	acknowledged := 0
	ack := func() { acknowledged++ }
	for _, topic := range []string{
		"devices/other/messages/devicebound/", "devices/d/inputs/a/", "devices/d", "", "x",
		"devices/d/modules/m/inputs/a/",
	} {
		c.receive(mqtt.Message{Topic: topic, QoS: 1, Ack: ack})
	}
	assert.Zero(t, acknowledged)
	_, ok, _ := c.inbox.pop()
	assert.False(t, ok)
	for _, topic := range []string{
		twinResponses + "x", desiredPatches, methodCalls, "$iothub/other",
	} {
		c.receive(mqtt.Message{Topic: topic, QoS: 1, Ack: ack})
	}
	assert.Equal(t, 4, acknowledged, "of no use later either")
	c.receive(mqtt.Message{Topic: "devices/d/messages/devicebound/", QoS: 1, Ack: ack})
	_, ok, _ = c.inbox.pop()
	assert.True(t, ok)
}

func TestTimesAreReadInTheFormsThatTheServiceWrites(t *testing.T) {
	want := time.Date(2026, 3, 1, 15, 4, 5, 0, time.UTC)
	for _, text := range []string{
		"2026-03-01T15:04:05Z", "2026-03-01T15:04:05.0000000Z", "2026-03-01T16:04:05+01:00",
		"Sun, 01 Mar 2026 15:04:05 GMT", "3/1/2026 3:04:05 PM",
	} {
		assert.Equal(t, want, parseTime(text), text)
	}
	assert.Zero(t, parseTime("soon"))
}

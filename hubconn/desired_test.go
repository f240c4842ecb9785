// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

func (s *stage) desire(patch object) int64 {
	version, err := s.hub.PatchDesired(s.id(), patch)
	require.NoError(s, err)
	return version
}

// replica is what a device makes of the desired properties.
type replica struct {
	*stage
	version int64
	state   object
	full    int // how often it got the whole
}

// apply follows the rules that Desired promises.
func (r *replica) apply(d hubconn.Desired) {
	require.Greater(r, d.Version, r.version, "versions strictly rise")
	if !d.Full {
		require.Equal(r, r.version+1, d.Version, "a change follows the one before")
	}
	r.version = d.Version
	var patch object
	require.NoError(r, d.Decode(&patch))
	if d.Full {
		r.full++
		r.state = patch
		return
	}
	for name, value := range patch {
		if value == nil {
			delete(r.state, name)
		} else {
			r.state[name] = value
		}
	}
}

func (r *replica) matches() {
	r.Helper()
	twin, ok := r.hub.Twin(r.id())
	require.True(r, ok)
	assert.Equal(r, twin.DesiredVersion, r.version)
	want, err := json.Marshal(twin.Desired)
	require.NoError(r, err)
	got, err := json.Marshal(r.state)
	require.NoError(r, err)
	assert.JSONEq(r, string(want), string(got))
}

func TestDesiredStartsWithTheStateAndGoesOnWithChanges(t *testing.T) {
	for _, module := range []bool{false, true} {
		playEverywhere(t, func(s *stage) {
			if module {
				s.becomesModule()
			}
			first := s.desire(object{"a": 1, "b": object{"c": "d"}})
			conn := s.connect()
			r := &replica{stage: s}
			for d, err := range conn.Desired(s.Context()) {
				require.NoError(s, err)
				r.apply(d)
				switch d.Version {
				case first:
					assert.Equal(s, hubconn.Desired{
						Version: first, Full: true, JSON: json.RawMessage(`{"a":1,"b":{"c":"d"}}`),
					}, d)
					s.desire(object{"a": 2})
					s.desire(object{"b": nil, "e": []any{1.0, nil}})
					continue
				case first + 1:
					assert.Equal(
						s, hubconn.Desired{Version: first + 1, JSON: json.RawMessage(`{"a":2}`)}, d,
					)
					continue
				case first + 2:
					assert.Equal(s, hubconn.Desired{Version: first + 2, JSON: json.RawMessage(
						`{"b":null,"e":[1,null]}`,
					)}, d)
				}
				break
			}
			r.matches()
			require.NoError(s, conn.Context().Err())
		})
	}
}

func TestAnEmptyTwinIsAStateToo(t *testing.T) {
	play(t, func(s *stage) {
		for d, err := range s.connect().Desired(s.Context()) {
			require.NoError(s, err)
			assert.True(s, d.Full)
			assert.Equal(s, "{}", string(d.JSON))
			break
		}
	})
}

func TestDesiredEndsWithItsContextOrTheConnection(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		cause := errors.New("enough")
		for _, end := range []func(cancel context.CancelCauseFunc){
			func(cancel context.CancelCauseFunc) { cancel(cause) },
			func(context.CancelCauseFunc) { s.network.Cut(host) },
		} {
			ctx, cancel := context.WithCancelCause(s.Context())
			defer cancel(nil)
			time.AfterFunc(time.Minute, func() { end(cancel) })
			var last error
			n := 0
			for _, err := range conn.Desired(ctx) {
				last = err
				n++
			}
			assert.Equal(s, 2, n, "the state, and the end")
			assert.Equal(s, "desired", s.is(last, hubconn.Unreachable).Op)
			if ctx.Err() != nil {
				assert.ErrorIs(s, last, cause)
				require.NoError(s, conn.Context().Err())
			} else {
				assert.ErrorIs(s, last, context.Cause(conn.Context()))
			}
		}
	})
}

// The changes that arrive while a body is slow wait; when there are too many the whole state comes
// in their place.
func TestASlowLoopGetsTheStateInPlaceOfTooManyChanges(t *testing.T) {
	for changes, fulls := range map[int]int{64: 1, 65: 2, 1000: 2} {
		play(t, func(s *stage) {
			conn := s.connect()
			r := &replica{stage: s}
			var last int64
			for d, err := range conn.Desired(s.Context()) {
				require.NoError(s, err)
				r.apply(d)
				if r.full == 1 && last == 0 {
					for i := range changes {
						last = s.desire(object{fmt.Sprint("p", i%7): i})
						if i%50 == 0 {
							synctest.Wait()
						}
					}
					synctest.Wait()
				}
				if r.version == last {
					break
				}
			}
			assert.Equal(s, fulls, r.full, "%d changes", changes)
			r.matches()
			require.NoError(s, conn.Context().Err())
		})
	}
}

func TestAChangeThatGotLostIsMadeUpFor(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		r := &replica{stage: s}
		for d, err := range conn.Desired(s.Context()) {
			require.NoError(s, err)
			r.apply(d)
			if r.full == 1 {
				s.hub.Inject(hubtest.Fault{On: hubtest.Desired, NoAnswer: true})
				s.desire(object{"a": 1})
				s.desire(object{"b": 2})
			}
			if len(r.state) == 2 {
				break
			}
		}
		assert.Equal(s, 2, r.full)
		r.matches()
	})
}

func TestDesiredAsksUntilTheHubTells(t *testing.T) {
	play(t, func(s *stage) {
		s.hub.Inject(hubtest.Fault{On: hubtest.TwinGet, Status: 429, Times: 2})
		s.hub.Inject(hubtest.Fault{On: hubtest.TwinGet, Status: 503, Times: 2})
		s.hub.Inject(hubtest.Fault{On: hubtest.TwinGet, NoAnswer: true})
		conn := s.connect()
		start := time.Now()
		for d, err := range conn.Desired(s.Context()) {
			require.NoError(s, err)
			assert.True(s, d.Full)
			break
		}
		assert.GreaterOrEqual(s, time.Since(start), (10+10+5+5+30)*time.Second)
		s.hub.Inject(hubtest.Fault{On: hubtest.TwinGet, Status: 400})
		for _, err := range conn.Desired(s.Context()) {
			s.is(err, hubconn.Caller)
		}
		require.NoError(s, conn.Context().Err())
	})
}

func TestARenewalWithoutChangesRepeatsNothing(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		ctx, cancel := context.WithTimeout(s.Context(), 24*time.Hour)
		defer cancel()
		n := 0
		for _, err := range conn.Desired(ctx) {
			if err == nil {
				n++
			}
		}
		assert.Equal(s, 1, n)
		assert.Greater(s, s.accepted(), 20)
		assert.Equal(s, s.accepted(), s.gets(), "one for each link")
	})
}

// 1,000 changes fall anywhere among 100 links, of which half are renewed and half cut; some are
// lost on the way.
func TestAThousandChangesOverAHundredLinks(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL = 2 * time.Minute
		random := rand.New(rand.NewPCG(1, 2))
		last := make(chan int64, 1)
		stop, stopped := context.WithCancel(s.Context())
		defer stopped()
		go func() {
			var version int64
			for i := range 1000 {
				version = s.desire(object{fmt.Sprint("p", random.IntN(20)): i, "seq": i})
				if random.IntN(50) == 0 {
					s.hub.Inject(hubtest.Fault{On: hubtest.Desired, NoAnswer: true})
				}
				if random.IntN(3) > 0 {
					time.Sleep(time.Duration(random.IntN(16000)) * time.Millisecond)
				}
				if random.IntN(20) == 0 {
					s.network.Cut(host)
				}
			}
			last <- version
			time.Sleep(10 * time.Minute)
			stopped()
		}()
		r := &replica{stage: s}
		for stop.Err() == nil {
			conn, err := s.dial()
			if err != nil {
				time.Sleep(time.Second)
				continue
			}
			seen := r.version
			for d, err := range conn.Desired(stop) {
				if err != nil {
					break
				}
				if d.Version == seen && d.Full {
					continue // a new connection starts with the state
				}
				r.apply(d)
			}
			require.NoError(s, conn.Close())
		}
		assert.Equal(s, <-last, r.version)
		assert.GreaterOrEqual(s, s.accepted(), 75)
		r.matches()
	})
}

func TestSeveralLoopsOverDesiredEachSeeAll(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		results := make(chan string, 3)
		for range 3 {
			go func() {
				var seen strings.Builder
				for d, err := range conn.Desired(s.Context()) {
					if err != nil {
						break
					}
					seen.Write(d.JSON)
					if strings.Contains(seen.String(), "end") {
						break
					}
				}
				results <- seen.String()
			}()
		}
		synctest.Wait()
		s.desire(object{"a": 1})
		s.desire(object{"a": "end"})
		for range 3 {
			assert.Equal(s, `{}{"a":1}{"a":"end"}`, <-results)
		}
	})
}

// The hub sends a thousand changes as fast as it can.
func TestABurstOfChangesEndsInTheHubsState(t *testing.T) {
	playEverywhere(t, func(s *stage) {
		conn := s.connect()
		r := &replica{stage: s}
		var last int64
		for d, err := range conn.Desired(s.Context()) {
			require.NoError(s, err)
			r.apply(d)
			if last == 0 {
				for i := range 1000 {
					last = s.desire(object{fmt.Sprint("p", i%7): i})
				}
			}
			if r.version == last {
				break
			}
		}
		r.matches()
		require.NoError(s, conn.Context().Err())
	})
}

// anew makes the twin begin anew, as the Device Provisioning Service does when it resets a device's
// data at the hub that it is on already: a connected device is not told.
func (s *stage) anew(version int64, desired object) {
	s.Helper()
	twin := hubtest.Twin{Desired: desired, DesiredVersion: version}
	require.NoError(s, s.hub.SetTwin(s.id(), twin))
}

// replicates has ten changes made, each with what else is given, and a replica that follows what
// comes after them until it is cancelled.
func (s *stage) replicates(also object) (*replica, <-chan []int64, context.CancelFunc) {
	for i := range 10 {
		change := object{"a": i}
		maps.Copy(change, also)
		s.desire(change)
	}
	ctx, cancel := context.WithCancel(s.Context())
	r := &replica{stage: s}
	versions := r.follows(ctx, s.connect())
	synctest.Wait()
	return r, versions, cancel
}

// follows applies what a loop over Desired yields until ctx ends; a Full may restart the versions.
func (r *replica) follows(ctx context.Context, conn *hubconn.Conn) <-chan []int64 {
	done := make(chan []int64, 1)
	go func() {
		var versions []int64
		for d, err := range conn.Desired(ctx) {
			if err != nil {
				break
			}
			if d.Full {
				r.version = d.Version - 1
			}
			r.apply(d)
			versions = append(versions, d.Version)
		}
		done <- versions
	}()
	return done
}

func TestATwinThatBeginsAnewIsYieldedAsAWhole(t *testing.T) {
	for name, row := range map[string]struct {
		change func(s *stage)
		within time.Duration
		want   []int64 // the last versions from the restart on
	}{
		"with changes": {func(s *stage) {
			s.anew(1, object{"new": true})
			s.desire(object{"b": 1})
			s.desire(object{"c": 1})
			s.desire(object{"d": 1})
		}, 2 * time.Second, []int64{4}},
		"with changes apart": {func(s *stage) {
			s.anew(1, object{"new": true})
			for i := range 4 {
				s.desire(object{"b": i})
				time.Sleep(time.Minute)
			}
		}, 0, []int64{2, 3, 4, 5}},
		"up to the same version": {func(s *stage) {
			s.anew(10, object{"new": true})
			s.desire(object{"b": 1})
		}, 2 * time.Second, []int64{11}},
		"past the version": {func(s *stage) {
			s.anew(11, object{"new": true})
			s.desire(object{"b": 1})
			s.hub.Inject(hubtest.Fault{On: hubtest.Desired, NoAnswer: true})
			s.desire(object{"c": 1})
			s.desire(object{"d": 1})
		}, 0, nil},
		"without a change": {func(s *stage) { s.anew(1, object{"new": true}) }, 56 * time.Minute, []int64{1}},
		"without a change, of the same version": {func(s *stage) {
			s.anew(11, object{"new": true})
		}, 56 * time.Minute, []int64{11}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				r, versions, cancel := s.replicates(object{"old": true})
				row.change(s)
				time.Sleep(row.within)
				synctest.Wait()
				want := slices.Clone(row.want)
				if want != nil {
					r.matches()
					want = append(want, r.version+1, r.version+2)
					s.desire(object{"later": 1})
					s.desire(object{"later": 2})
				}
				time.Sleep(3 * time.Hour)
				cancel()
				got := <-versions
				r.matches()
				assert.EqualValues(s, 11, got[0])
				if want == nil {
					return
				}
				// Changes at the same moment come singly, or with the state.
				anew := got[1:]
				require.GreaterOrEqual(s, len(anew), len(want))
				assert.Equal(s, want, anew[len(anew)-len(want):])
				for i := 1; i < len(anew); i++ {
					assert.Equal(s, anew[i-1]+1, anew[i], "%v", anew)
				}
			})
		})
	}
}

// The hub responds once from before the changes, several times in a day: each time it is asked
// again, and the twin has not begun anew.
func TestALateStateIsNotBelievedBecauseAnotherWasLateBefore(t *testing.T) {
	play(t, func(s *stage) {
		r, versions, cancel := s.replicates(object{})
		for i := range 3 {
			s.hub.Inject(hubtest.Fault{On: hubtest.TwinGet, Delay: 5 * time.Second})
			s.lose(object{"c": i})
			s.desire(object{"d": i})
			time.Sleep(4 * time.Second)
			twin, _ := s.hub.Twin("dev1")
			s.anew(3, object{"a": "before"})
			time.Sleep(time.Second + 10*time.Millisecond)
			require.NoError(s, s.hub.SetTwin("dev1", twin))
			time.Sleep(time.Minute)
			synctest.Wait()
			r.matches()
		}
		cancel()
		assert.Equal(s, []int64{11, 13, 15, 17}, <-versions)
	})
}

func TestLateChangesHaveTheStateReadOnceAMinute(t *testing.T) {
	play(t, func(s *stage) {
		_, versions, cancel := s.replicates(object{})
		twin, _ := s.hub.Twin("dev1")
		s.hub.Inject(hubtest.Fault{On: hubtest.TwinGet, Delay: time.Millisecond, Times: -1})
		for range 60 {
			s.anew(3, object{"a": "before"})
			s.desire(object{"b": 1})
			require.NoError(s, s.hub.SetTwin("dev1", twin))
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(s, s.gets(), 10)
		cancel()
		<-versions
	})
}

// A change with a version that the twin has never had: the loop neither waits for that version for
// ever nor takes it for its own.
func TestAChangeOfABogusVersionHoldsNothingUp(t *testing.T) {
	play(t, func(s *stage) {
		r, versions, cancel := s.replicates(object{})
		s.network.Stall(host, true) // so that no state is read before the last one
		s.anew(1e15, object{"a": "bogus"})
		s.desire(object{"a": "bogus"})
		s.anew(12, object{"a": "true"})
		s.network.Stall(host, false)
		synctest.Wait()
		r.matches() // the state is yielded at once
		time.Sleep(2 * time.Minute)
		s.desire(object{"b": 1})
		synctest.Wait()
		r.matches()
		assert.LessOrEqual(s, s.gets(), 6)
		time.Sleep(3 * time.Hour)
		cancel()
		assert.Equal(s, []int64{11, 12, 13}, <-versions)
	})
}

// lose makes the hub lose the next change of the desired properties on its way, and makes it.
func (s *stage) lose(patch object) {
	s.Helper()
	synctest.Wait() // those before it are on their way
	s.hub.Inject(hubtest.Fault{On: hubtest.Desired, NoAnswer: true})
	s.desire(patch)
	synctest.Wait()
}

func (s *stage) gets() (n int) {
	for _, o := range s.hub.Operations() {
		if o.On == hubtest.TwinGet {
			n++
		}
	}
	return n
}

// Changes wait while the body is slow, and the state that is read in place of a lost one has them:
// they are neither repeated nor a reason to read it again.
func TestChangesThatTheStateHasAreSkipped(t *testing.T) {
	for name, anew := range map[string]bool{"the same twin": false, "one that began anew": true} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				for i := range 9 {
					s.desire(object{"a": i})
				}
				conn := s.connect()
				r := &replica{stage: s}
				var versions []int64
				var start time.Time
				for d, err := range conn.Desired(s.Context()) {
					require.NoError(s, err)
					if d.Full {
						r.version = d.Version - 1
					}
					r.apply(d)
					if versions = append(versions, d.Version); len(versions) == 1 {
						s.desire(object{"b": 1})
						s.lose(object{"c": 1})
						s.desire(object{"d": 1})
						s.desire(object{"e": 1})
						if anew {
							s.anew(1, object{"new": true})
							s.desire(object{"f": 1})
						}
						synctest.Wait()
						start = time.Now()
					}
					if twin, _ := s.hub.Twin("dev1"); d.Version == twin.DesiredVersion {
						if r.full == 2 {
							time.AfterFunc(time.Second, func() { s.desire(object{"last": 1}) })
						} else {
							break
						}
						r.full++
					}
				}
				r.matches()
				if anew {
					assert.Equal(s, []int64{10, 11, 2, 3}, versions)
					assert.Equal(s, 3, s.gets())
					assert.LessOrEqual(s, time.Since(start), 12*time.Second)
				} else {
					assert.Equal(s, []int64{10, 11, 14, 15}, versions)
					assert.Equal(s, 2, s.gets())
					assert.Equal(s, time.Second, time.Since(start))
				}
			})
		})
	}
}

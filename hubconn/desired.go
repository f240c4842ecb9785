// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"encoding/json"
	"iter"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// Desired is a state, or a change, of the desired properties.
type Desired struct {
	// Version is that of the properties after the change.
	Version int64
	// Full is true when JSON is all there is, and not a change.
	Full bool
	// JSON is the object with the properties; in a change, null deletes its member (RFC 7396).
	JSON json.RawMessage
}

// Decode decodes the properties into v, as json.Unmarshal does.
func (d Desired) Decode(v any) error { return json.Unmarshal(d.JSON, v) }

// Desired yields the desired properties: first all there are, then each change, in the order of
// their versions, which rise by one. After a renewal of the connection, or when the loop body is so
// slow that more than 64 changes wait, it reads the twin again; if changes were missed, all
// properties are yielded in their place (Full), with a higher version. Nothing is repeated.
//
// A twin that begins anew under the connection, because the device was reprovisioned with reset or
// created again, is yielded as a whole too. Its version may then be any: after a Full that does not
// have a higher version than what came before, versions count from that one. It is noticed with the
// next change or renewal, and believed when the hub has said so twice. A change whose version the
// hub's own state does not reach within two minutes is not waited for.
//
// While the hub throttles or is in trouble, it repeats the request. The sequence ends after
// yielding an error: an *Error with the connection's cause, or with that of ctx in its tree; of
// class Server if the hub refuses a subscription, of class Caller if it refuses the request. Each
// loop sees all changes; there may be several.
func (c *Conn) Desired(ctx context.Context) iter.Seq2[Desired, error] {
	return func(yield func(Desired, error) bool) {
		// before the subscription: nothing may get lost between that and the GET
		f := c.feeds.open()
		defer c.feeds.close(f)
		if err := c.subscribe(ctx, "desired", toDesiredPatches); err != nil {
			yield(Desired{}, err)
			return
		}
		follower := follower{conn: c, feed: f, yield: yield}
		if err := follower.run(ctx); err != nil {
			yield(Desired{}, err)
		}
	}
}

const (
	// maxReads is how often a state is read that is not as new as it should be.
	maxReads = 5
	// readPause is the least time between two reads that a surprising version calls for.
	readPause = time.Minute
)

// follower keeps up with the desired properties.
type follower struct {
	conn    *Conn
	feed    *feed
	yield   func(Desired, error) bool
	version int64 // of what was yielded last
	begun   bool
	known   shadow

	read    uint64    // patches that came before the state that was read last
	before  uint64    // patches of the twin that was there before the present one
	doubts  int       // signs, since the version rose last, that the twin began anew
	doubted time.Time // when a patch was the last such sign
}

// run returns nil when the loop was left.
func (f *follower) run(ctx context.Context) error {
	for ahead, stale := int64(0), true; ; {
		if stale {
			more, err := f.catchUp(ctx, ahead)
			if err != nil || !more {
				return err
			}
			ahead, stale = 0, false
		}
		if err := f.conn.ended(ctx, "desired"); err != nil {
			return err
		}
		p, ok, missed := f.feed.pop()
		switch {
		case missed:
			stale, ahead = true, p.properties.Version
		case !ok:
			select {
			case <-f.feed.arrived:
			case <-f.conn.ctx.Done():
			case <-ctx.Done():
			}
		case p.number <= f.before:
		case p.properties.Version == f.version+1:
			if !f.emit(Desired{Version: p.properties.Version, JSON: p.properties.JSON}) {
				return nil
			}
		case p.properties.Version > f.version:
			stale, ahead = true, p.properties.Version
		case p.number > f.read:
			// The state was read before it came: it is late, or the twin began anew.
			if wait := readPause - time.Since(f.doubted); wait > 0 && !f.doubted.IsZero() {
				if err := f.conn.pause(ctx, "desired", wait); err != nil {
					return err
				}
			}
			stale, f.doubts, f.doubted = true, f.doubts+1, time.Now()
		}
	}
}

// catchUp reads the state, and yields it if it is news. The hub may respond with a state from
// before changes that it has sent (ahead is the version of such a one) or that were yielded: then
// it is read again. What it says for the second time about a version that is lower than before, it
// means: the twin began anew. And what it never comes to was no version of this twin.
func (f *follower) catchUp(ctx context.Context, ahead int64) (more bool, err error) {
	for n := 1; ; n++ {
		state, err := f.state(ctx)
		if err != nil {
			return false, err
		}
		anew := false
		switch {
		case !f.begun || state.Version > f.version:
			anew = true
		case state.Version == f.version:
			anew = !f.known.equals(state.JSON)
		default:
			f.doubts++
			anew = f.doubts >= 2
			ahead = max(ahead, f.version)
		}
		if anew {
			if state.Version < f.version {
				ahead, f.before = 0, f.read
			}
			if !f.emit(Desired{Version: state.Version, Full: true, JSON: state.JSON}) {
				return false, nil
			}
		}
		if state.Version >= ahead || n == maxReads {
			f.doubts = 0
			return true, nil
		}
		if err := f.conn.pause(
			ctx, "desired", twinRetry.Delay(n, 0, rand.Float64()),
		); err != nil {
			return false, err
		}
	}
}

func (f *follower) emit(d Desired) bool {
	f.version, f.begun = d.Version, true
	f.known.add(d)
	return f.yield(d, nil)
}

// state requests all properties until the hub sends them, or refuses for good.
func (f *follower) state(ctx context.Context) (Properties, error) {
	for n := 1; ; n++ {
		twin, patches, err := f.conn.twin(ctx, "desired")
		if err == nil {
			f.read = patches
			return twin.Desired, nil
		}
		if over := f.conn.ended(ctx, "desired"); over != nil {
			return Properties{}, over
		}
		if ClassOf(err) == Caller {
			return Properties{}, err
		}
		if err := f.conn.pause(
			ctx, "desired", twinRetry.Delay(n, retry.After(err), rand.Float64()),
		); err != nil {
			return Properties{}, err
		}
	}
}

// shadow is what the loop has made of what it was given: by that a state is told from another one
// of the same version.
type shadow struct {
	state   map[string]any
	unknown bool // it cannot be told
}

func (s *shadow) add(d Desired) {
	var members map[string]any
	err := json.Unmarshal(d.JSON, &members)
	if d.Full {
		s.state, s.unknown = members, err != nil
		return
	}
	s.state, s.unknown = mergePatch(s.state, members), s.unknown || err != nil
}

func (s *shadow) equals(state json.RawMessage) bool {
	var members map[string]any
	err := json.Unmarshal(state, &members)
	return err != nil || s.unknown || reflect.DeepEqual(members, s.state)
}

// mergePatch applies a merge patch to target, which it changes (RFC 7396).
func mergePatch(target, patch map[string]any) map[string]any {
	if target == nil {
		target = map[string]any{}
	}
	for name, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(target, name)
		case map[string]any:
			inner, _ := target[name].(map[string]any)
			target[name] = mergePatch(inner, value)
		default:
			target[name] = value
		}
	}
	return target
}

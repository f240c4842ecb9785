package hubconn

import (
	"context"
	"encoding/json"
	"iter"
	"math/rand/v2"

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
// their versions, which strictly rise. After a renewal of the connection, or when the loop body is
// so slow that more than 64 changes wait, it reads the twin again; if changes were missed, all
// properties are yielded in their place (Full). Nothing is repeated.
//
// While the hub throttles or is in trouble, it repeats the request. The sequence ends after
// yielding an error: an *Error with the connection's cause, or with that of ctx in its tree; of
// class Server if the hub refuses a subscription, of class Caller if it refuses the request. Each
// loop sees all changes; there may be several.
func (c *Conn) Desired(ctx context.Context) iter.Seq2[Desired, error] {
	return func(yield func(Desired, error) bool) {
		f := c.feeds.open() // before the subscription: nothing may get lost between that and the GET
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

// follower keeps up with the desired properties.
type follower struct {
	conn    *Conn
	feed    *feed
	yield   func(Desired, error) bool
	version int64 // of what was yielded last
	begun   bool
}

// run returns nil when the loop was left.
func (f *follower) run(ctx context.Context) error {
	stale := true
	var ahead int64 // a version that is known to exist: the state that is requested has to have it
	for tries := 0; ; {
		if stale {
			state, err := f.state(ctx)
			if err != nil {
				return err
			}
			if !f.begun || state.Version > f.version {
				if !f.emit(Desired{Version: state.Version, Full: true, JSON: state.JSON}) {
					return nil
				}
			}
			stale = false
			if f.version < ahead { // the hub responded with a state from before the change
				tries++
				if err := f.conn.pause(ctx, "desired", twinRetry.Delay(tries, 0, rand.Float64())); err != nil {
					return err
				}
				stale = true
				continue
			}
			tries = 0
		}
		if err := f.conn.ended(ctx, "desired"); err != nil {
			return err
		}
		p, ok, missed := f.feed.pop()
		switch {
		case missed:
			stale, ahead = true, max(ahead, p.properties.Version)
		case !ok:
			select {
			case <-f.feed.arrived:
			case <-f.conn.ctx.Done():
			case <-ctx.Done():
			}
		case p.properties.Version <= f.version: // part of the state already
		case p.properties.Version == f.version+1:
			if !f.emit(Desired{Version: p.properties.Version, JSON: p.properties.JSON}) {
				return nil
			}
		default:
			stale, ahead = true, p.properties.Version
		}
	}
}

func (f *follower) emit(d Desired) bool {
	f.version, f.begun = d.Version, true
	return f.yield(d, nil)
}

// state requests all properties until the hub sends them, or refuses for good.
func (f *follower) state(ctx context.Context) (Properties, error) {
	for n := 1; ; n++ {
		twin, err := f.conn.twin(ctx, "desired")
		if err == nil {
			return twin.Desired, nil
		}
		if over := f.conn.ended(ctx, "desired"); over != nil {
			return Properties{}, over
		}
		if ClassOf(err) == Caller {
			return Properties{}, err
		}
		if err := f.conn.pause(ctx, "desired", twinRetry.Delay(n, retry.After(err), rand.Float64())); err != nil {
			return Properties{}, err
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/pagepart"
	"github.com/rehome-iot/rehome/retry"
)

var (
	// errQuiet ends an operation that noticed nothing.
	errQuiet = errors.New("nothing has happened")
	// errStopped is why a program ends an operation.
	errStopped = errors.New("the program wants to end")
)

// cell is what an operation made of a fault.
type cell struct {
	err  error
	took time.Duration // from the fault to the operation's end

	again  bool // the same client, with the fault over, did it
	tested bool // its ctx ended it in the middle of the fault
	inTime bool // and soon
	back   bool // a Device came back
}

// quiet says that the operation noticed nothing and went on.
func (c *cell) quiet() bool { return errors.Is(c.err, errQuiet) }

// meet has an operation meet a fault, and says what became of it and, afterwards, of the same once
// the fault was over.
func meet(t *testing.T, o *operation, f fault) (c cell) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, o)
		defer w.close()
		w.spoil(o, f, nil)
		c.err = o.run(t.Context(), w)
		met := w.way.metAt()
		require.False(t, met.IsZero(), "%v was not met: %v", f, c.err)
		c.took = time.Since(met)
		if !c.quiet() {
			assert.LessOrEqual(t, c.took, o.most(f), "%v: %v", f, c.err)
		}
		// What is slow is no fault, a connection at rest can be made anew, and any answer tells the
		// time. Else whoever is satisfied believes in what was never done.
		assert.True(
			t, !c.quiet() && c.err != nil || f == trickle || o.at.layer == atRest && !c.quiet() ||
				o.name == "time", "%v: nobody has noticed", f,
		)
		assert.Equal(t, retry.Wait, retry.Classify(c.err), "what is wrong is the way: %v", c.err)

		w.mend()
		// No Device is sooner, and a request that was on its way is done by then.
		time.Sleep(retry.DefaultMinDelay)
		if o.ready != nil {
			require.NoError(t, o.ready(w), "%v is over", f)
		}
		again := o.run(t.Context(), w)
		c.again = assert.True(
			t, again == nil || errors.Is(again, errQuiet), "%v is over, and still: %v", f, again,
		)
	})
	return c
}

// spoil makes the world ready for an operation, and then the fault.
func (w *world) spoil(o *operation, f fault, met func()) {
	if o.ready != nil {
		require.NoError(w, o.ready(w))
	}
	w.way.spoil(f, met)
	if f == refused && o.refuse != nil {
		o.refuse(w)
	}
}

// mend ends the fault.
func (w *world) mend() {
	w.way.lift()
	w.hub.ClearFaults()
	w.service.ClearFaults()
}

// cancel ends an operation in the middle of a fault that it takes so long to notice. It says
// whether it was the end of ctx that ended it, and in time. What notices a fault at once cannot be
// ended in the middle of it, nor can what has failed already and is telling the hub.
func cancel(t *testing.T, o *operation, f fault, noticed time.Duration) (inTime, tested bool) {
	if noticed == 0 {
		return false, false
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, o)
		defer w.close()
		ctx, stop := context.WithCancelCause(t.Context())
		defer stop(nil)
		stopped := make(chan time.Time, 1)
		w.spoil(o, f, func() {
			time.AfterFunc(noticed/2, func() {
				stopped <- time.Now()
				stop(errStopped)
			})
		})
		err := o.run(ctx, w)
		var took time.Duration
		select {
		case at := <-stopped:
			took = time.Since(at)
		default: // it has failed before
		}
		if tested = errors.Is(err, errStopped); o.cancelled == 0 {
			require.True(t, tested, "%v: %v", f, err)
		}
		inTime = assert.LessOrEqual(t, took, 100*time.Millisecond+o.cancelled, "%v: %v", f, err)
	})
	return inTime, tested
}

// How many cells there are that an operation can meet, and in how many of them the operation waits,
// so that its ctx can end it: none of them is to be lost.
const (
	cells   = 417
	waiting = 143
)

func TestEveryFaultIsNoticedAndSurvived(t *testing.T) {
	all := groups()
	t.Run("cells", func(t *testing.T) {
		for _, g := range all {
			for _, o := range g.operations {
				t.Run(g.title+"/"+o.name, func(t *testing.T) {
					t.Parallel()
					for f := refused; f < faultEnd; f++ {
						if !o.pointless(f) {
							c := meet(t, o, f)
							c.inTime, c.tested = cancel(t, o, f, c.took)
							c.back = recoverFrom(t, o, f)
							o.cells[f] = &c
						}
					}
				})
			}
		}
	})
	if someAlone() {
		return
	}
	seen, well, stopped, text := 0, 0, 0, ""
	for _, g := range all {
		for _, o := range g.operations {
			for _, c := range o.cells {
				if c != nil {
					seen++
				}
				if c != nil && (c.err == nil || c.quiet()) {
					well++
				}
				if c != nil && c.tested {
					stopped++
				}
			}
		}
		text += g.table()
	}
	assert.GreaterOrEqual(t, stopped, waiting, "a ctx that has nothing to end shows nothing")
	if !t.Failed() && assert.Equal(t, cells, seen, "all of them, and none that has no meaning") {
		pagepart.Compare(t, pagePath, "faults", fmt.Sprintf("Of %d calls that met a fault %d "+
			"failed, each within the time that is promised, and %d went well\nall the same. None "+
			"hung. The %d that were kept waiting were made once more, and their "+
			"context\nended.\n\n%s",
			seen, seen-well, well, stopped, text))
	}
}

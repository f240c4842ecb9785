// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// A power cut during a commit leaves what the database had written, as far as the medium had it.
// The database writes the pages of a commit where the last one has none, syncs them, writes one of
// two meta pages, and syncs that (a test beside this one watches it do so). So there are two kinds
// of states: before the first sync has returned any part of the pages, with the old meta page; and
// after it all of the pages, with any part of the meta page. A medium writes whole sectors.
const sector = 512

// image is what is in a file.
type image []byte

// state is what an outbox finds in an image: the messages of both lanes, in their order.
type state string

// inspect opens an image as Open does, and reads everything.
func inspect(t testing.TB, path string, content image) (s state, err error) {
	t.Helper()
	_ = os.Remove(path) // one that is too damaged to be closed is locked for good
	require.NoError(t, os.WriteFile(path, content, 0o600))
	db, err := openBolt(path, time.Second)
	if err != nil {
		return "", err
	}
	f := &File{path: path, boxes: map[string]*Outbox{}}
	f.options, err = Options{}.check(path)
	require.NoError(t, err)
	f.db.db = db
	defer f.db.close()
	if err := f.db.view(f.readSettings); err != nil {
		return "", err
	}
	box, err := f.Outbox(device)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for l := range lane(lanes) {
		err := f.db.view(func(tx *bolt.Tx) (err error) {
			order := box.each(tx, l, 0, func(sequence uint64, key, record []byte) bool {
				m, _, bad := decode(key, record)
				if bad != nil {
					err = fmt.Errorf("message %d: %w", sequence, bad)
				}
				fmt.Fprintf(&b, "%d:%s ", l, m.Body)
				return bad == nil
			})
			return cmp.Or(err, order)
		})
		if err != nil {
			return "", err
		}
	}
	return state(b.String()), nil
}

// A commitImage is the file before and after one commit.
type commitImage struct {
	before, after image
	was, is       state
}

// pages splits what a commit has changed into data pages and the meta page.
func (c commitImage) pages(page int) (data []int, meta int) {
	meta = -1
	size := max(len(c.before), len(c.after))
	for at := 0; at < size; at += page {
		if bytes.Equal(c.before.at(at, page), c.after.at(at, page)) {
			continue
		}
		if at < 2*page {
			meta = at
		} else {
			data = append(data, at)
		}
	}
	return data, meta
}

// at is a part of an image, or zeros behind its end.
func (i image) at(offset, length int) []byte {
	part := make([]byte, length)
	if offset < len(i) {
		copy(part, i[offset:])
	}
	return part
}

// with returns an image of a size in which parts are another's.
func (i image) with(other image, size, length int, offsets ...int) image {
	made := make(image, size)
	copy(made, i)
	for _, at := range offsets {
		if at < size {
			copy(made[at:min(size, at+length)], other.at(at, length))
		}
	}
	return made
}

// history commits puts, removals, alarms, drops and growth, and returns the image of each commit.
func history(t testing.TB) (all []commitImage) {
	t.Helper()
	path, scratch := tempFile(t), filepath.Join(t.TempDir(), "scratch.db")
	o := quickly
	o.MaxBytes = 12 << 10
	f := open(t, path, o)
	box := boxOf(t, f)
	random := rand.New(rand.NewPCG(1, 2))
	read := func() image {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		return content
	}
	last := read()
	was, err := inspect(t, scratch, last)
	require.NoError(t, err)
	snapshot := func() {
		content := read()
		is, err := inspect(t, scratch, content)
		require.NoError(t, err)
		all = append(all, commitImage{last, content, was, is})
		last, was = content, is
	}
	// acknowledge has the hub take messages from the front, as a delivery does.
	d := &delivery{box: box}
	acknowledge := func(n int) {
		for range n {
			m, ok, err := d.take(telemetry)
			require.NoError(t, err)
			if !ok {
				return
			}
			box.acknowledge(m.lane, m.sequence, m.size)
		}
	}
	next := 0
	message := func() int { next++; return next }
	for range 12 { // one at a time
		send(t, box, message())
		snapshot()
	}
	for i := range 12 { // many, while others go
		acknowledge(3 * i)
		var batch []int
		for range 1 + random.IntN(20) {
			batch = append(batch, message())
		}
		p, err := box.newPut(telemetry, messagesOf(batch, random.IntN(500)))
		require.NoError(t, err)
		require.NoError(t, f.enqueue(p))
		<-p.done
		snapshot()
		if i%4 == 3 {
			require.NoError(t, box.SendAlarm(t.Context(), numbered(message())))
			snapshot()
		}
	}
	assert.NotZero(t, box.Stats().DroppedFull)
	return all
}

func TestAPowerCutDuringACommitLosesNothingThatWasDurable(t *testing.T) {
	page := os.Getpagesize()
	scratch := filepath.Join(t.TempDir(), "scratch.db")
	random := rand.New(rand.NewPCG(3, 4))
	var states, old, renewed, refused int
	look := func(c commitImage, content image, allowed ...state) {
		states++
		got, err := inspect(t, scratch, content)
		require.NoError(t, err)
		require.Contains(t, allowed, got)
		if got == c.is {
			renewed++
		} else {
			old++
		}
	}
	for _, c := range history(t) {
		data, meta := c.pages(page)
		require.GreaterOrEqual(t, meta, 0)
		require.NotEmpty(t, data)
		// Before the first sync: any part of the pages, in a file that has grown or has not.
		for _, size := range slices.Compact([]int{len(c.before), len(c.after)}) {
			look(c, c.before.with(c.after, size, page), c.was)
			look(c, c.before.with(c.after, size, page, data...), c.was)
			for i := range data {
				look(c, c.before.with(c.after, size, page, data[i]), c.was)
				others := slices.Delete(slices.Clone(data), i, i+1)
				look(c, c.before.with(c.after, size, page, others...), c.was)
			}
			for range 10 {
				var sectors []int
				for _, at := range data {
					for s := at; s < at+page; s += sector {
						if random.IntN(2) == 0 {
							sectors = append(sectors, s)
						}
					}
				}
				look(c, c.before.with(c.after, size, sector, sectors...), c.was)
			}
		}
		// After it: all pages, and any part of the meta page, by sectors and by bytes.
		written := c.before.with(c.after, len(c.after), page, data...)
		var changed []int
		for at := meta; at < meta+page; at += sector {
			if !bytes.Equal(c.before.at(at, sector), c.after.at(at, sector)) {
				changed = append(changed, at)
			}
		}
		for set := range 1 << len(changed) {
			var sectors []int
			for i, at := range changed {
				if set>>i&1 == 1 {
					sectors = append(sectors, at)
				}
			}
			look(c, written.with(c.after, len(c.after), sector, sectors...), c.was, c.is)
		}
		for n := range 128 {
			torn := slices.Clone(written)
			copy(torn[meta:meta+n], c.after[meta:])
			look(c, torn, c.was, c.is)
		}
		// When Send has returned.
		look(c, c.after, c.is)

		// And the states that the order of the writes rules out, the meta page without all of the
		// pages, are not harmless, or this test would see nothing.
		// A medium that loses a write makes them: they are told as damage, and no loop without end.
		nothing := image(bytes.Repeat([]byte{0xff}, len(c.after)))
		for _, at := range data {
			for _, instead := range []image{c.before, nothing} {
				wrong := c.after.with(instead, len(c.after), page, at)
				got, err := inspect(t, scratch, wrong)
				if err != nil {
					assert.ErrorIs(t, err, ErrDamaged)
				}
				if err != nil || got != c.is {
					refused++
				}
			}
		}
	}
	t.Logf("%d crash states: %d old, %d new, 0 lost, 0 torn, 0 out of order; %d of other orders "+
		"of writes found out", states, old, renewed, refused)
	assert.Greater(t, states, 1000)
	assert.NotZero(t, old)
	assert.NotZero(t, renewed)
	assert.NotZero(t, refused)
}

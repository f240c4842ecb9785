// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/boottime"
)

var (
	thisBoot  = [16]byte([]byte("this run, 16 B.."))
	otherBoot = [16]byte([]byte("another run, 16B"))
)

func momentOf(boot [16]byte, clock time.Duration) boottime.Moment {
	return boottime.Moment{Boot: boot, Clock: clock}
}

func TestWaitFileIsReadAsWritten(t *testing.T) {
	for _, w := range []waitFile{
		{momentOf(thisBoot, 12345*time.Millisecond), []byte("until ten")},
		{boottime.Moment{}, []byte{0}},
		{momentOf(otherBoot, 1<<63-1), bytes.Repeat([]byte("x"), MaxSize)},
	} {
		got, ok := decodeWaits(w.encode())
		require.True(t, ok)
		assert.Equal(t, w, got)
	}
}

// A later version has to read the files of this one, or know them by their number.
func TestWaitFileFormat(t *testing.T) {
	assert.Equal(
		t, "rehomeW\x01this run, 16 B..\x00\x94\x35\x77\x00\x00\x00\x00\x02\x00\x00\x00"+
			"\xb6\x99\xf4\x74ok",
		string(waitFile{momentOf(thisBoot, 2*time.Second), []byte("ok")}.encode()),
	)
}

func TestTornWaitFileIsNotRead(t *testing.T) {
	whole := waitFile{momentOf(thisBoot, time.Second), []byte("until ten")}.encode()
	for length := range whole {
		_, ok := decodeWaits(whole[:length])
		assert.False(t, ok, "cut to %d bytes", length)
		padded := append(bytes.Clone(whole[:length]), make([]byte, len(whole)-length)...)
		_, ok = decodeWaits(padded)
		assert.False(t, ok, "zeros from byte %d on", length)
	}
	for bit := range 8 * len(whole) {
		flipped := bytes.Clone(whole)
		flipped[bit/8] ^= 1 << (bit % 8)
		_, ok := decodeWaits(flipped)
		assert.False(t, ok, "bit %d", bit)
	}
	_, ok := decodeWaits(append(bytes.Clone(whole), 0))
	assert.False(t, ok, "longer")
	_, ok = decodeWaits(waitFile{momentOf(thisBoot, time.Second), nil}.encode())
	assert.False(t, ok, "no data, which is never stored")
	_, ok = decodeWaits(waitFile{momentOf(thisBoot, -1), []byte("data")}.encode())
	assert.False(t, ok, "before the start")
}

func FuzzWaitFile(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(waitMagic))
	f.Add(waitFile{momentOf(thisBoot, time.Second), []byte("until ten")}.encode())
	f.Add(waitFile{boottime.Moment{}, []byte{0}}.encode())
	f.Add(waitFile{momentOf(thisBoot, -1), []byte("data")}.encode())
	f.Add(append(waitFile{momentOf(thisBoot, 1), []byte("data")}.encode(), "more"...))
	f.Fuzz(func(t *testing.T, file []byte) {
		w, ok := decodeWaits(file)
		if !ok {
			return
		}
		if len(w.data) == 0 || w.at.Clock < 0 {
			t.Errorf("%q is read as %+v", file, w)
		}
		if again := w.encode(); !bytes.Equal(again, file) {
			t.Errorf("%q is read as %+v, which is written as %q", file, w, again)
		}
	})
}

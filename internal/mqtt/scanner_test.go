// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scan feeds a stream to a scanner in pieces, through one buffer as the tap does, and returns the
// bytes it lets through, the packets it saw and its verdict.
func scan(
	limit int, stream []byte, pass func(event) bool, piece func(rest int) int,
) (passed []byte, seen []event, err error) {
	s := scanner{limit: limit, leavesOut: true}
	buffer := make([]byte, maxHeld+len(stream))
	for len(stream) > 0 {
		n := copy(buffer[maxHeld:], stream[:piece(len(stream))])
		stream = stream[n:]
		out, err := s.feed(buffer[maxHeld:maxHeld+n], buffer[:0], func(e event) bool {
			seen = append(seen, e)
			return pass(e)
		})
		passed = append(passed, out...)
		if err != nil {
			return passed, seen, err
		}
	}
	return passed, seen, nil
}

func all(event) bool { return true }

func whole(rest int) int { return rest }

var session = bytes.Join([][]byte{
	{0x20, 2, 1, 0},
	{0x90, 3, 0x12, 0x34, 1},
	{0x40, 2, 0xab, 0xcd},
	{0xd0, 0},
	{0x32, 7, 0, 1, 'a', 0, 9, 'h', 'i'},
	append([]byte{0x30, 0xc8, 0x01, 0, 1, 'a'}, bytes.Repeat([]byte{0xd0}, 197)...),
	{0xb0, 2, 0, 5},
	{0x30, 2, 0, 0},
}, nil)

func TestScannerFollowsThePacketsHoweverTheyAreSplit(t *testing.T) {
	want := []event{
		{kind: 2, id: 0x100}, {kind: 9, id: 0x1234}, {kind: 4, id: 0xabcd}, {kind: 13},
		{kind: 11, id: 5},
	}
	onlyPaho := func(e event) bool { return e.kind != typePuback && e.kind != typePingresp }
	rest := bytes.Join([][]byte{session[:9], session[15:]}, nil)
	check := func(piece func(int) int) {
		passed, seen, err := scan(1000, session, all, piece)
		require.NoError(t, err)
		assert.Equal(t, session, passed)
		assert.Equal(t, want, seen)
		passed, _, err = scan(1000, session, onlyPaho, piece)
		require.NoError(t, err)
		assert.Equal(t, rest, passed)
	}
	check(whole)
	for size := 1; size < 20; size++ {
		check(func(rest int) int { return min(size, rest) })
	}
	for at := 1; at < len(session); at++ {
		check(func(rest int) int {
			if rest == len(session) {
				return at
			}
			return rest
		})
	}
}

func TestScannerLetsTheLongestPacketThroughAndLeavesALongerOneOut(t *testing.T) {
	for _, header := range []byte{0x30, 0x32, 0x3b} {
		long := append([]byte{header, 0x80, 0x01, 0, 1, 'a', 0x12, 0x34}, make([]byte, 123)...)
		next := []byte{0x30, 5, 0, 1, 'b', 'o', 'k'}
		stream := slices.Concat([]byte{0x20, 2, 0, 0}, long, next)
		for size := 1; size < len(stream); size++ {
			piece := func(rest int) int { return min(size, rest) }
			passed, _, err := scan(128, stream, all, piece)
			require.NoError(t, err)
			assert.Equal(t, stream, passed)
			passed, seen, err := scan(127, stream, all, piece)
			require.NoError(t, err)
			assert.Equal(t, append(stream[:4:4], next...), passed)
			want := event{kind: typePublish, size: 128}
			if header != 0x30 {
				want.id = 0x1234
			}
			assert.Equal(t, want, seen[len(seen)-1], "it can be acknowledged")
		}
	}
}

func TestScannerEndsAtAPacketThatNoBrokerSends(t *testing.T) {
	stream := []byte{0x20, 2, 0, 0, 0x30, 0x81, 0x80, 0x80, 0x02, 0, 1, 'a'} // 4 MiB and 1
	passed, _, err := scan(127, stream, all, whole)
	isProtocolError(t, err)
	assert.Equal(t, stream[:4], passed, "the length that would be trusted is withheld")
}

func TestScannerTellsARefusalBeforePahoReadsIt(t *testing.T) {
	passed, _, err := scan(1000, []byte{0x20, 2, 0, 0x87}, all, whole)
	refused, ok := errors.AsType[*RefusedError](err)
	require.True(t, ok)
	assert.EqualValues(t, 0x87, refused.Code)
	assert.Empty(t, passed)
}

// However a stream is split, the same bytes pass and the same packets are seen; and what passes can
// be read by Paho without a panic, in packets no longer than the limit.
func FuzzScanner(f *testing.F) {
	f.Add(session, uint8(1))
	f.Add([]byte{0x20, 2, 0, 0, 0x30, 0x80, 0xa6, 0xc4, 0x8f, 0x01}, uint8(3))
	f.Add([]byte{0x20, 2, 0, 0, 0x90, 4, 0, 1, 0, 0}, uint8(2))
	f.Add([]byte{0x20, 2, 0, 5}, uint8(2))
	f.Add(slices.Concat(
		[]byte{0x20, 2, 0, 0, 0x30, 0x81, 0x08}, make([]byte, 1025), []byte{0xd0, 0},
	), uint8(100))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), uint8(7))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		const limit = 1 << 10
		passed, seen, err := scan(limit, stream, all, whole)
		again, seenAgain, errAgain := scan(limit, stream, all, func(rest int) int {
			return min(max(int(size), 1), rest)
		})
		assert.Equal(t, err, errAgain)
		assert.Equal(t, seen, seenAgain)
		// Only the start of the PUBLISH that offends may differ: what of it came in an earlier
		// piece has passed.
		if len(again) < len(passed) {
			passed, again = again, passed
		}
		assert.True(t, bytes.HasPrefix(again, passed))

		reader := bytes.NewReader(again)
		for small := 0; ; {
			before := reader.Len()
			packet, err := packets.ReadPacket(reader)
			if err != nil {
				assert.True(
					t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err,
				)
				left := 0 // out: too long for Paho
				for _, e := range seen {
					if e.kind == typePublish {
						left++
					}
				}
				assert.Equal(t, len(seen), small+left)
				return
			}
			if _, ok := packet.(*packets.PublishPacket); !ok {
				small++
			}
			assert.LessOrEqual(t, before-reader.Len(), limit+5)
		}
	})
}

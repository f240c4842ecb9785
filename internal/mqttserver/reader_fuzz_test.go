// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/require"
)

// Whatever arrives, the reader neither panics nor takes memory for bytes that did not arrive; and
// what it lets pass means the same when it is written again.
func FuzzReadPacket(f *testing.F) {
	u := packets.NewControlPacket(packets.Unsubscribe).(*packets.UnsubscribePacket)
	u.MessageID, u.Topics = 1, []string{"a", "b"}
	full := connectPacket()
	full.WillFlag, full.WillTopic, full.WillMessage, full.WillQos, full.WillRetain = true, "w",
		[]byte("m"), 1, true
	full.UsernameFlag, full.Username, full.PasswordFlag, full.Password = true, "u",
		true, []byte("p")
	for _, p := range []packets.ControlPacket{
		connectPacket(), full, publishPacket("t", 0, 0, "x"), publishPacket("t", 1, 1, ""),
		subscribePacket(1, 1, "a", "b/#"), u, packets.NewControlPacket(packets.Pingreq),
		packets.NewControlPacket(packets.Disconnect), packets.NewControlPacket(packets.Puback),
	} {
		var b bytes.Buffer
		require.NoError(f, p.Write(&b))
		f.Add(b.Bytes())
		f.Add(b.Bytes()[:b.Len()-1])
		f.Add(append(b.Bytes(), 0))
	}
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f, 'x'}) // announces 256 MB
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 16
		p, err := readPacket(bytes.NewReader(b), limit)
		if err != nil {
			require.Nil(t, p)
			return
		}
		var again bytes.Buffer
		require.NoError(t, p.Write(&again))
		q, err := readPacket(&again, limit)
		require.NoError(t, err)
		require.Equal(t, p, q)
	})
}

func TestAnnouncedLengthTakesNoMemory(t *testing.T) {
	announced := []byte{0x30, 0xff, 0xff, 0xff, 0x7f, 'x'}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		_, err := readPacket(bytes.NewReader(announced), 1<<28)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(10<<20))
}

// SPDX-License-Identifier: Apache-2.0

package amqp

import (
	"bytes"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// talk plays a client that writes and then reads to the end.
func talk(t *testing.T, pieces ...string) (heard string, took time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		begun := time.Now()
		done := make(chan error)
		go func() { done <- Refuse(server, "no AMQP") }()
		all := make(chan string)
		go func() {
			b, _ := io.ReadAll(client)
			all <- string(b)
		}()
		for _, piece := range pieces {
			_, werr := io.WriteString(client, piece)
			require.NoError(t, werr)
			synctest.Wait()
		}
		time.Sleep(time.Second)
		_ = client.Close()
		heard, err = <-all, <-done
		took = time.Since(begun)
	})
	return heard, took, err
}

// The bytes are those that the standard's tables give.
const closing = "414d515000010000" + // the header
	"0000001f02000000" + "005310d0" + "0000000f" + "00000001" + "a109" + "73696d756c61746f72" +
	"0000003f02000000" + "005318d0" + "0000002f" + "00000001" +
	"00531dd0" + "00000023" + "00000002" +
	"a314" + "616d71703a6e6f742d696d706c656d656e746564" + "a107" + "6e6f20414d5150"

func TestAClientIsToldWhyItsConnectionCloses(t *testing.T) {
	heard, _, err := talk(t, "AMQP\x00\x01\x00\x00", "an open that nobody reads")
	require.NoError(t, err)
	assert.Equal(t, closing, hex.EncodeToString([]byte(heard)))
}

func TestAClientThatProvesWhoItIsIsToldAsWell(t *testing.T) {
	initFrame := frame(1, 0x41, text(0xa3, "PLAIN"), []byte{0xa0, 3, 0, 'a', 'b'})
	heard, _, err := talk(t, "AMQP\x03\x01\x00\x00", string(initFrame), "AMQP\x00\x01\x00\x00")
	require.NoError(t, err)
	rest, ok := strings.CutPrefix(heard, "AMQP\x03\x01\x00\x00")
	require.True(t, ok)
	mechanisms, rest, ok := strings.Cut(rest, string(frame(1, 0x44, []byte{0x50, 0})))
	require.True(t, ok, "an outcome of 0")
	for _, name := range []string{"ANONYMOUS", "PLAIN", "EXTERNAL", "MSSBCBS"} {
		assert.Contains(t, mechanisms, string(rune(len(name)))+name)
	}
	assert.Equal(t, byte(len(mechanisms)), mechanisms[3])
	assert.Equal(t, closing, hex.EncodeToString([]byte(rest)))
}

func TestWhoSpeaksSomethingElseHearsWhatIsSpoken(t *testing.T) {
	for _, first := range []string{
		"\x10\x20\x00\x04MQTT", "GET / HTTP/1.1", "AMQP\x00\x00\x09\x01", "AMQP\x02\x01\x00\x00",
	} {
		client, server := net.Pipe()
		go func() { _ = Refuse(server, Reason) }()
		_, err := io.WriteString(client, first[:8])
		require.NoError(t, err)
		heard, err := io.ReadAll(client)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(plain, heard), "%q", first)
	}
}

func TestAClientThatIsSlowOrHostileIsLeft(t *testing.T) {
	_, _, err := talk(t, "AMQP\x03\x01\x00\x00", "\xff\xff\xff\xff")
	assert.ErrorContains(t, err, "4294967295")
	_, _, err = talk(t, "AMQP\x03\x01\x00\x00", "\x00\x00\x00\x02")
	assert.ErrorContains(t, err, "2 bytes")
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		begun := time.Now()
		assert.Error(t, Refuse(server, Reason), "it says nothing")
		assert.Equal(t, patience, time.Since(begun))
	})
}

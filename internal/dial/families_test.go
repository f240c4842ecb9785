// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/dial"
)

// dnsReply answers every question for an address: A with 127.0.0.1, AAAA with ::1.
func dnsReply(query []byte) []byte {
	end := 12
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	kind := binary.BigEndian.Uint16(query[end+1:])
	address := []byte{127, 0, 0, 1}
	if kind == 28 {
		address = net.IPv6loopback
	}
	reply := append([]byte{}, query[:end+5]...)
	copy(reply[2:], []byte{0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}) // one question, one answer
	reply = append(reply, 0xc0, 12)                             // its name is that of the question
	reply = binary.BigEndian.AppendUint16(reply, kind)
	reply = append(reply, 0, 1, 0, 0, 0, 60, 0, byte(len(address)))
	return append(reply, address...)
}

// resolver answers as dnsReply does, and notes which kinds of address are asked for.
func resolver(t *testing.T) *net.Resolver {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		query := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(query)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(dnsReply(query[:n]), from)
		}
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return &net.Resolver{
		PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "udp4", server.LocalAddr().String())
		},
	}
}

// A name may have addresses of a family that leads nowhere. The race between the two families is
// net.Dialer's (RFC 8305); what is shown here is that nothing in between takes the part of one. The
// resolver is the process's, so a process of its own has it.
func TestANameIsDialedInBothFamilies(t *testing.T) {
	if os.Getenv("DIAL_TEST_CHILD") == "" {
		child := exec.Command(os.Args[0], "-test.run=^TestANameIsDialedInBothFamilies$", "-test.v")
		child.Env = append(os.Environ(), "DIAL_TEST_CHILD=1")
		out, err := child.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "connected by", "%s", out)
		return
	}
	net.DefaultResolver = resolver(t)
	addresses, err := net.DefaultResolver.LookupHost(t.Context(), "hub.example.")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"127.0.0.1", "::1"}, addresses)
	for _, listening := range []string{"127.0.0.1:0", "[::1]:0"} {
		server, err := net.Listen("tcp", listening)
		if err != nil && strings.HasPrefix(listening, "[") {
			t.Log("this machine has no IPv6: ", err)
			continue
		}
		require.NoError(t, err)
		_, port, err := net.SplitHostPort(server.Addr().String())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		nc, err := (&dial.Dialer{}).TCP(ctx, net.JoinHostPort("hub.example.", port))
		cancel()
		require.NoError(t, err, listening)
		assert.Equal(t, server.Addr().String(), nc.RemoteAddr().String())
		t.Log("connected by", nc.RemoteAddr())
		_ = nc.Close()
		_ = server.Close()
	}
}

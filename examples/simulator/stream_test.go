// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// feedHost is a host that has the feed alone, without its key.
type feedHost struct{ http.Handler }

func (feedHost) ServeMQTT(nc net.Conn) { _ = nc.Close() }

// streams runs a test in a bubble, with a function that opens a stream.
func streams(
	t *testing.T, f func(n *simnet.Network, open func(query string) (*http.Response, func())),
) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		defer n.Close()
		n.Handle("feed.test", feedHost{newFeed(recorded(n)).handler()})
		client := &http.Client{Transport: &http.Transport{
			DialContext: n.DialContext, TLSClientConfig: n.TLSConfig(),
		}}
		defer client.CloseIdleConnections()
		f(n, func(query string) (*http.Response, func()) {
			ctx, cancel := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(
				ctx, http.MethodGet, "https://feed.test/events/stream?"+query, nil,
			)
			require.NoError(t, err)
			response, err := client.Do(r)
			require.NoError(t, err)
			return response, func() { _ = response.Body.Close(); cancel() }
		})
	})
}

func TestAStreamKeepsItsConnectionAndItsPosition(t *testing.T) {
	streams(t, func(n *simnet.Network, open func(string) (*http.Response, func())) {
		response, done := open("kind=twin")
		defer done()
		for range 7 {
			n.Record(simnet.Event{Kind: simnet.EventConnected}) // not what it wants
		}
		begun := time.Now()
		line, err := bufio.NewReader(response.Body).ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "id: 7\n", line, "it would come back with it")
		assert.Equal(t, keepAlive, time.Since(begun))
	})
}

func TestStreamsAreLimitedAndGivenBack(t *testing.T) {
	streams(t, func(_ *simnet.Network, open func(string) (*http.Response, func())) {
		var all []func()
		for range maxStreams {
			response, done := open("")
			require.Equal(t, 200, response.StatusCode)
			all = append(all, done)
		}
		response, done := open("")
		assert.Equal(t, 503, response.StatusCode)
		assert.NotEmpty(t, response.Header.Get("Retry-After"))
		done()
		all[0]()
		synctest.Wait()
		response, all[0] = open("")
		assert.Equal(t, 200, response.StatusCode)
		for _, done := range all {
			done()
		}
	})
}

func TestAStreamOfAnotherRunBeginsAnewAndSaysSo(t *testing.T) {
	streams(t, func(n *simnet.Network, open func(string) (*http.Response, func())) {
		n.Record(simnet.Event{Kind: simnet.EventConnected})
		response, done := open("after=99")
		defer done()
		lines := bufio.NewScanner(response.Body)
		var kinds []string
		for len(kinds) < 2 && lines.Scan() {
			if kind, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				kinds = append(kinds, kind)
			}
		}
		assert.Equal(t, []string{"gap", "connected"}, kinds)
	})
}

// A reader that has stopped reading does not keep its stream for ever.
func TestAStreamThatNobodyReadsIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		defer n.Close()
		f := newFeed(recorded(n))
		n.Handle("feed.test", feedHost{f.handler()})
		client := &http.Client{Transport: &http.Transport{
			DialContext: n.DialContext, TLSClientConfig: n.TLSConfig(),
		}}
		defer client.CloseIdleConnections()
		response, err := client.Get("https://feed.test/events/stream")
		require.NoError(t, err)
		defer response.Body.Close()
		n.Stall("feed.test", true)
		for range 200 {
			n.Record(simnet.Event{
				Kind:    simnet.EventTelemetry,
				Message: &simnet.EventMessage{Body: make([]byte, 100<<10)},
			})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Empty(t, f.streams)
		n.Stall("feed.test", false)
	})
}

// A kind that the feed does not know could not be asked for.
func TestTheFeedKnowsAllKinds(t *testing.T) {
	source, err := os.ReadFile("../../hubconn/simnet/event.go")
	require.NoError(t, err)
	declared := regexp.MustCompile(`EventKind = "(\w+)"`).FindAllSubmatch(source, -1)
	require.NotEmpty(t, declared)
	for _, m := range declared {
		_, err := newFeed(nil).readFilter(url.Values{"kind": {string(m[1])}})
		assert.NoError(t, err)
	}
	assert.Len(t, kinds, len(declared))
}

// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"crypto/tls"
	"io"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// anywhere runs a test on a network in memory, inside a bubble, and on one on sockets.
func anywhere(t *testing.T, f func(t *testing.T, n *Network)) {
	t.Run("memory", func(t *testing.T) { inMemory(t, f) })
	t.Run("sockets", func(t *testing.T) {
		n, err := Listen(ListenConfig{})
		require.NoError(t, err)
		defer func() { require.NoError(t, n.Close()) }()
		f(t, n)
	})
}

// inMemory runs a test that needs virtual time. The end of the bubble shows that nothing was left
// running.
func inMemory(t *testing.T, f func(t *testing.T, n *Network)) {
	synctest.Test(t, func(t *testing.T) { f(t, ForTest(t)) })
}

// waitForGoroutines waits until no more goroutines run than before.
func waitForGoroutines(t *testing.T, before int) {
	t.Helper()
	for range 10_000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond) // those that ended are counted until the scheduler has seen it
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("goroutines left over:\n%s", stacks[:runtime.Stack(stacks, true)])
}

// get makes one HTTPS request to a host.
func get(t *testing.T, n *Network, cfg *tls.Config, url string) (*http.Response, string, error) {
	tr := &http.Transport{DialContext: n.DialContext, TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	answer, err := (&http.Client{Transport: tr}).Get(url)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(body), nil
}

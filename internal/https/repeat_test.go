// SPDX-License-Identifier: Apache-2.0

package https_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/https"
)

func TestARequestThatAKeptConnectionLosesIsNotRepeated(t *testing.T) {
	for _, method := range []string{
		http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete, http.MethodPut,
		http.MethodPost,
	} {
		for _, body := range []string{"", "hello"} {
			for _, reset := range []bool{true, false} {
				requests := 0
				var network *simnet.Network
				visit(t, func(w http.ResponseWriter, _ *http.Request) {
					if requests++; requests != 2 {
						return
					}
					if reset {
						network.Cut(host)
						return
					}
					nc, _, err := http.NewResponseController(w).Hijack()
					if assert.NoError(t, err) {
						_ = nc.Close()
					}
				}, func(t *testing.T, n *simnet.Network, conn *https.Conn) {
					network = n
					send := func() (https.Response, error) {
						return conn.Do(t.Context(), https.Request{
							Method: method, URL: root, Body: []byte(body), Limit: time.Minute,
						})
					}
					_, err := send()
					require.NoError(t, err)
					r, err := send()
					assert.Error(t, err, "%s %q, reset: %v", method, body, reset)
					assert.Zero(t, r)
					assert.Equal(t, 2, requests, "%s %q, reset: %v", method, body, reset)
					_, err = send()
					assert.NoError(t, err, "the next request has another connection")
					assert.Equal(t, 3, requests)
				})
			}
		}
	}
}

func TestARequestWithoutABodySaysNothingOfOne(t *testing.T) {
	for method, length := range map[string]string{
		http.MethodGet: "", http.MethodHead: "", http.MethodDelete: "", http.MethodOptions: "",
		http.MethodPut: "0", http.MethodPost: "0",
	} {
		for _, body := range []string{"", "hello"} {
			want := length
			if body != "" {
				want = strconv.Itoa(len(body))
			}
			visit(t, func(_ http.ResponseWriter, r *http.Request) {
				assert.Equal(t, want, r.Header.Get("Content-Length"), "%s %q", method, body)
				assert.Empty(t, r.TransferEncoding, "%s %q", method, body)
			}, func(t *testing.T, _ *simnet.Network, conn *https.Conn) {
				_, err := conn.Do(t.Context(), https.Request{
					Method: method, URL: root, Body: []byte(body), Limit: time.Minute,
				})
				require.NoError(t, err)
			})
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sync/semaphore"
)

func TestRequestsHaveSoMuchMemoryTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{gate: make(chan struct{})}
		h := NewHTTP(k, func(error) {})
		h.room = semaphore.NewWeighted(300 << 10)
		post := func(body string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", "/v1/devices/hall/messages",
				strings.NewReader(body)))
			return w
		}
		answered := make(chan int)
		go func() { answered <- post(strings.Repeat("x", 200<<10)).Code }()
		synctest.Wait()
		start := time.Now()
		refused := post(strings.Repeat("x", 150<<10))
		assert.Equal(t, http.StatusServiceUnavailable, refused.Code)
		assert.Equal(t, "1", refused.Header().Get("Retry-After"))
		assert.Equal(t, longestTurn, time.Since(start))
		go func() { answered <- post("small").Code }() // for which there is room
		synctest.Wait()
		assert.Len(t, k.calls, 2)
		close(k.gate)
		assert.Equal(t, http.StatusAccepted, <-answered)
		assert.Equal(t, http.StatusAccepted, <-answered)
		assert.Equal(t, http.StatusAccepted, post(strings.Repeat("x", 150<<10)).Code)
	})
}

// A property that cannot be read is no property that is left out.
func TestAQueryThatCannotBeReadIsRefused(t *testing.T) {
	k := &keeper{}
	h := NewHTTP(k, func(error) {})
	for query, status := range map[string]int{
		"floor=1": 202, "": 202, "floor=100%25": 202,
		"floor=100%&x=1": 400, "floor=1;x=1": 400,
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/v1/devices/hall/messages", nil)
		r.URL.RawQuery = query
		h.ServeHTTP(w, r)
		assert.Equal(t, status, w.Code, query)
		if status == 400 {
			assert.Contains(t, w.Body.String(), "percent-encoded")
		}
	}
	assert.Len(t, k.kept, 3)
}

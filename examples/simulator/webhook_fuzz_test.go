// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/internal/oneline"
)

// spoken answers every request with the same bytes, and counts them.
type spoken struct {
	bytes []byte
	asked int
}

func (s *spoken) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked++
	return http.ReadResponse(bufio.NewReader(bytes.NewReader(s.bytes)), r)
}

// Whatever a back end answers, a batch is taken after a 2xx alone. Any other answer is one line
// without the webhook's address and headers, which may be keys, and its wait is never negative. It
// is one answer to one request: whoever redirects it does not get the telemetry sent elsewhere.
func FuzzBackendAnswer(f *testing.F) {
	for _, answer := range []string{
		"204 \r\n\r\n", "200 OK\r\nContent-Length: 9\r\n\r\ncut", "413 \r\n\r\ntoo much",
		"429 \r\nRetry-After: 7\r\n\r\n", "503 \r\nDate: Sun, 01 Mar 2026 12:00:00 GMT\r\n" +
			"Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n\r\n",
		"307 \r\nLocation: http://b/\r\n\r\n",
		"200 OK\r\nsite.example canary\r\n\r\n", "200 OK\r\n\x8canary\r\n\r\n",
		"302 \r\nLocation: http://[%25%63anary]/\r\n\r\n",
		"401 \r\nRetry-After: -1\r\n\r\n", "200 OK\r\nno colon\x1b\r\n\r\n", "1000 \r\n\r\n", "",
	} {
		f.Add([]byte("HTTP/1.1 " + answer))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		post := func(site, key string) error {
			answers := &spoken{bytes: said}
			client := webhookClient()
			client.Transport = answers
			w := newWebhook(webhookConfig{
				URL:     "http://" + site + "/telemetry?code=" + key,
				Headers: map[string]string{"x-functions-key": key},
			}, client, nil, nil)
			defer func() { assert.Equal(t, 1, answers.asked) }()
			return w.post(t.Context(), []byte("[]"))
		}
		err := post("site.example", "canary")
		if err == nil {
			answer, err := (&spoken{bytes: said}).RoundTrip(nil)
			assert.NoError(t, err)
			assert.Equal(t, 2, answer.StatusCode/100)
			return
		}
		text := err.Error()
		assert.Equal(t, oneline.Of(text, 500), text, "one line of what prints")
		// The answer may be quoted, and hold anything, but the webhook's own is nowhere in it.
		assert.EqualError(t, post("another.example:81", "linnet"), text)
		if refused, ok := errors.AsType[*webhookError](err); ok {
			assert.NotEqual(t, 2, refused.status/100)
			assert.GreaterOrEqual(t, refused.RetryAfter(), time.Duration(0))
			if refused.forGood() {
				assert.Equal(t, 4, refused.status/100, "what it may yet take is kept")
			}
		}
	})
}

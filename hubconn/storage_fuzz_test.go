// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/internal/https"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/retry"
)

// Whatever a storage account answers, a block is stored after its own 201 alone, and nothing that
// it says is about the device and its hub: it never makes the device register.
func FuzzStorageAnswer(f *testing.F) {
	const date = "Sun, 01 Mar 2026 12:00:00 GMT"
	f.Add(201, "1f-2", "", "", date, []byte(nil))
	f.Add(201, "", "", "", date, []byte("<html>"))
	f.Add(403, "1f-2", "AuthenticationFailed", "", date, []byte("<?xml version=\"1.0\"?><Error/>"))
	f.Add(404, "", "DeviceNotFound", "", "", []byte(`{"errorCode":404001,"message":"gone"}`))
	f.Add(429, "1", "ServerBusy", "7", "", []byte(nil))
	f.Add(503, "1\x1b[2J\r\n", "ServerBusy\r\nx", "Fri, 31 Dec 9999 23:59:59 GMT", date,
		[]byte(nil))
	f.Add(302, "", "", "-1", "soon", []byte("sig=canary"))
	f.Fuzz(func(t *testing.T, status int, id, code, after, date string, body []byte) {
		if status < 100 || status > 999 {
			return // no HTTP status: the response is not read
		}
		header := http.Header{}
		for name, value := range map[string]string{
			"X-Ms-Request-Id": id, "X-Ms-Error-Code": code, "Retry-After": after, "Date": date,
			"Iothub-Errorcode": code,
		} {
			if value != "" {
				header.Set(name, value)
			}
		}
		hub := Hub{Host: "hub-a.azure-devices.net", DeviceID: "d"}
		e := storageRefused(hub, https.NewResponse(status, header, body))
		if status == 201 && id != "" {
			assert.Nil(t, e)
			return
		}
		if !assert.NotNil(t, e) {
			return
		}
		assert.Contains(t, []Class{Caller, Throttled, Server, Unreachable}, e.Class)
		assert.NotEqual(t, retry.Register, e.Verdict())
		assert.Equal(t, status == 429, e.Class == Throttled)
		assert.GreaterOrEqual(t, e.RetryAfter(), time.Duration(0))
		text := e.Error()
		assert.Equal(t, oneline.Of(text, len(text)), text, "one line of what prints")
		assert.Less(t, len(text), 1000)
		assert.LessOrEqual(t, len(e.Name), 64)
		assert.LessOrEqual(t, len(e.TrackingID), 128)
		assert.Equal(t, oneline.ASCII(e.Name+e.TrackingID, 200), e.Name+e.TrackingID)
	})
}

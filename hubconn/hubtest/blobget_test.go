// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var blockBlob = map[string]string{
	"x-ms-blob-type": "BlockBlob", "x-ms-blob-content-type": "text/plain",
}

func TestAnUploadIsReadBack(t *testing.T) {
	onWeb(t, func(t *testing.T, h *Hub, c *client) {
		p := c.begin("logs/küche 1.txt")
		response, body := c.https("GET "+p.url(), nil, "")
		assert.Equal(t, "404 BlobNotFound", blobCode(t, response, body), "not written yet")
		response, _ = c.https("PUT "+p.url(), blockBlob, "hello, hub")
		require.Equal(t, 201, response.StatusCode)

		response, body = c.https("GET "+p.url(), nil, "")
		require.Equal(t, 200, response.StatusCode)
		assert.Equal(t, "hello, hub", body)
		sum := md5.Sum([]byte("hello, hub"))
		for name, want := range map[string]string{
			"Content-Type": "text/plain", "Content-Length": "10", "x-ms-blob-type": "BlockBlob",
			"Content-MD5": base64.StdEncoding.EncodeToString(sum[:]),
		} {
			assert.Equal(t, want, response.Header.Get(name), name)
		}
		assert.Regexp(t, `^"0x[0-9a-f]+"$`, response.Header.Get("ETag"))
		_, err := http.ParseTime(response.Header.Get("Last-Modified"))
		assert.NoError(t, err)
		response, body = c.https("HEAD "+p.url(), nil, "")
		assert.Equal(t, 200, response.StatusCode)
		assert.Equal(t, "10", response.Header.Get("Content-Length"))
		assert.Empty(t, body)
		for _, name := range []string{"Range", "x-ms-range"} {
			response, body = c.https("GET "+p.url(), map[string]string{name: "bytes=7-9"}, "")
			assert.Equal(t, 206, response.StatusCode)
			assert.Equal(t, "hub", body)
		}
		last := h.Operations()[len(h.Operations())-1]
		assert.Equal(t, BlobGet, last.On)
		assert.Equal(t, 206, last.Status)
		assert.Equal(t, p.BlobName, last.Detail)
		assert.Equal(t, "dev1", last.DeviceID)

		// The address is of one blob, and a back end has the hub's token.
		plain := strings.TrimSuffix(p.url(), p.SASToken)
		other := c.begin("b").url()
		for request, want := range map[string]string{
			"GET " + plain: "403 AuthenticationFailed",
			"GET " + strings.Replace(other, "/b?", "/logs/k%C3%BCche%201.txt?", 1): "403 AuthenticationFailed",
			"GET " + p.url() + "&comp=blocklist":                                   "405 UnsupportedHttpVerb",
		} {
			response, body = c.https(request, nil, "")
			assert.Equal(t, want, blobCode(t, response, body), request)
		}
		for policy, want := range map[string]int{
			"service": 200, "iothubowner": 200, "device": 403, "registryRead": 403,
		} {
			response, body = c.https("GET "+plain, map[string]string{
				"Authorization": policyToken(t, h, policy, hubHost, time.Hour),
			}, "")
			assert.Equal(t, want, response.StatusCode, policy)
			assert.Equal(t, want == 200, body == "hello, hub", policy)
		}
	})
}

func TestBlobsMeetFaultsOfReading(t *testing.T) {
	inWeb(t, func(t *testing.T, h *Hub, c *client) {
		p := c.begin("a")
		h.Inject(Fault{On: BlobGet, Status: 503, ErrorCode: "ServerBusy"})
		response, _ := c.https("PUT "+p.url(), blockBlob, "x")
		assert.Equal(t, 201, response.StatusCode, "writing is another stage")
		response, body := c.https("GET "+p.url(), nil, "")
		assert.Equal(t, "503 ServerBusy", blobCode(t, response, body))
		response, _ = c.https("GET "+p.url(), nil, "")
		assert.Equal(t, 200, response.StatusCode)
		time.Sleep(time.Hour)
		response, body = c.https("GET "+p.url(), nil, "")
		assert.Equal(t, "403 AuthenticationFailed", blobCode(t, response, body))
	})
}

func TestStorageFreesTheBlobsThatWereWrittenLongestAgo(t *testing.T) {
	inWeb(t, func(t *testing.T, h *Hub, c *client) {
		h.store.room = 10
		put := func(name, body string) {
			p := c.begin(name)
			response, text := c.https("PUT "+p.url(), blockBlob, body)
			require.Equal(t, 201, response.StatusCode, text)
			c.notify(p, true)
		}
		has := func() (all string) {
			for _, name := range []string{"a", "b", "c", "big"} {
				if _, ok := h.Blob("dev1/" + name); ok {
					all += name
				}
			}
			return all
		}
		put("a", "1234")
		put("b", "1234")
		put("a", "4321") // now b is the oldest
		put("c", "1234")
		assert.Equal(t, "ac", has())
		put("big", strings.Repeat("x", 99))
		assert.Equal(t, "big", has(), "the newest stays, however large")
		put("a", "1")
		assert.Equal(t, "a", has())

		// What is not committed counts, too.
		p := c.begin("c")
		for i := range 3 {
			response, _ := c.https("PUT "+p.url()+"&comp=block&blockid="+blockID(i), nil, "1234")
			require.Equal(t, 201, response.StatusCode)
		}
		assert.Empty(t, has())
		for i := range maxBlobs + 5 {
			h.store.mu.Lock()
			h.store.keep(fmt.Sprint("dev1/", i), &blob{whole: []byte{}}, 0)
			h.store.mu.Unlock()
		}
		assert.Len(t, h.store.blobs, maxBlobs)
		assert.Len(t, h.store.order, maxBlobs)
	})
}

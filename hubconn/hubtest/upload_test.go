// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// place is where the hub lets a device upload to.
type place struct {
	CorrelationID, HostName, ContainerName, BlobName, SASToken string
}

func (p place) url() string {
	return "https://" + p.HostName + "/" + p.ContainerName + "/" + (&url.URL{Path: p.BlobName}).EscapedPath() + p.SASToken
}

// begin asks for a place.
func (c *client) begin(name string) place {
	c.t.Helper()
	request, err := json.Marshal(map[string]string{"blobName": name})
	require.NoError(c.t, err)
	response, body := c.https("POST /files", nil, string(request))
	require.Equal(c.t, 200, response.StatusCode, body)
	var p place
	require.NoError(c.t, json.Unmarshal([]byte(body), &p))
	return p
}

// notify reports the end of an upload.
func (c *client) notify(p place, success bool) *http.Response {
	c.t.Helper()
	report, err := json.Marshal(map[string]any{
		"correlationId": p.CorrelationID, "isSuccess": success, "statusCode": 201,
		"statusDescription": "done",
	})
	require.NoError(c.t, err)
	response, _ := c.https("POST /files/notifications", nil, string(report))
	return response
}

// blobCode is the status of a response of the storage, and the code in it.
func blobCode(t *testing.T, response *http.Response, body string) string {
	t.Helper()
	if response.StatusCode < 300 {
		return fmt.Sprint(response.StatusCode)
	}
	var e struct {
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
	}
	require.NoError(t, xml.Unmarshal([]byte(body), &e), body)
	require.Equal(t, e.Code, response.Header.Get("x-ms-error-code"))
	return fmt.Sprint(response.StatusCode, " ", e.Code)
}

func blockID(i int) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "block-%05d", i))
}

func TestHubsThatBeginAlikeHaveStoragesOfTheirOwn(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		hubs := []*Hub{NewHub(n, "hub-a.azure-devices.net"), NewHub(n, "hub-a.other.net")}
		assert.Equal(t, "hub-a.blob.core.windows.net", hubs[0].BlobHost())
		assert.Equal(t, "hub-a.other.net.blob.core.windows.net", hubs[1].BlobHost())
		for _, h := range hubs {
			require.NoError(t, h.Put(Device{ID: "dev1"}))
			c := device(t, h, "dev1")
			p := c.begin("log.txt")
			response, body := c.https(
				"PUT "+p.url(), map[string]string{"x-ms-blob-type": "BlockBlob"}, h.Host(),
			)
			require.Equal(t, "201", blobCode(t, response, body))
		}
		for _, h := range hubs {
			text, ok := h.Blob("dev1/log.txt")
			assert.True(t, ok)
			assert.Equal(t, h.Host(), string(text))
		}
	})
}

func TestUploadInOnePiece(t *testing.T) {
	onWeb(t, func(t *testing.T, h *Hub, c *client) {
		p := c.begin("logs/2026 küche.txt")
		assert.Equal(t, h.BlobHost(), p.HostName)
		assert.Equal(t, "hub-a.blob.core.windows.net", p.HostName)
		assert.Equal(t, "dev1/logs/2026 küche.txt", p.BlobName)
		assert.Equal(t, byte('?'), p.SASToken[0])
		sum := md5.Sum([]byte("hello"))
		response, body := c.https("PUT "+p.url(), map[string]string{
			"x-ms-blob-type": "BlockBlob", "x-ms-blob-content-type": "text/plain",
			"Content-MD5": base64.StdEncoding.EncodeToString(sum[:]),
		}, "hello")
		assert.Equal(t, "201", blobCode(t, response, body))
		assert.NotEmpty(t, response.Header.Get("x-ms-request-id"))
		got, ok := h.Blob("dev1/logs/2026 küche.txt")
		require.True(t, ok)
		assert.Equal(t, "hello", string(got))
		assert.Equal(t, "text/plain", h.BlobType("dev1/logs/2026 küche.txt"))
		assert.Equal(t, 204, c.notify(p, true).StatusCode)
		u := h.Uploads()[0]
		assert.True(t, u.Success)
		assert.Equal(t, 201, u.StatusCode)
		assert.Equal(t, "done", u.StatusDescription)
		assert.Equal(t, p.BlobName, u.BlobName)
		assert.Equal(t, 400, c.notify(p, true).StatusCode, "twice")

		// Nothing at all is a file, too.
		p = c.begin("empty")
		response, _ = c.https("PUT "+p.url(), map[string]string{"x-ms-blob-type": "BlockBlob"}, "")
		assert.Equal(t, 201, response.StatusCode)
		got, ok = h.Blob("dev1/empty")
		assert.True(t, ok)
		assert.Empty(t, got)
	})
}

func TestUploadInBlocks(t *testing.T) {
	onWeb(t, func(t *testing.T, h *Hub, c *client) {
		p := c.begin("big")
		list := "<BlockList>"
		want := ""
		for i := range 5 {
			part := strings.Repeat(fmt.Sprint(i), 100_000)
			response, body := c.https(
				"PUT "+p.url()+"&comp=block&blockid="+url.QueryEscape(blockID(i)), nil, part,
			)
			require.Equal(t, "201", blobCode(t, response, body))
			want += part
			list += "<Latest>" + blockID(i) + "</Latest>"
		}
		_, ok := h.Blob("dev1/big")
		assert.False(t, ok, "not before it is committed")
		response, body := c.https(
			"PUT "+p.url()+"&comp=blocklist",
			map[string]string{"x-ms-blob-content-type": "text/plain"},
			xml.Header+list+"</BlockList>",
		)
		require.Equal(t, "201", blobCode(t, response, body))
		got, _ := h.Blob("dev1/big")
		assert.Equal(t, want, string(got))
		assert.Equal(t, "text/plain", h.BlobType("dev1/big"))

		// A second list may name what the first one did.
		response, _ = c.https(
			"PUT "+p.url()+"&comp=blocklist", nil,
			"<BlockList><Committed>"+blockID(1)+"</Committed><Latest>"+blockID(0)+
				"</Latest></BlockList>",
		)
		require.Equal(t, 201, response.StatusCode)
		got, _ = h.Blob("dev1/big")
		assert.Equal(t, want[100_000:200_000]+want[:100_000], string(got))
		assert.Len(t, h.Operations(), 8)
		assert.Equal(t, BlobPut, h.Operations()[7].On)
		assert.Equal(t, "dev1/big", h.Operations()[7].Detail)
	})
}

func TestStorageRefuses(t *testing.T) {
	inWeb(t, func(t *testing.T, h *Hub, c *client) {
		p := c.begin("a")
		whole := map[string]string{"x-ms-blob-type": "BlockBlob"}
		other := c.begin("b")
		id := url.QueryEscape(blockID(1))
		for name, test := range map[string]struct {
			request string
			header  map[string]string
			body    string
			want    string
		}{
			"no token":            {strings.TrimSuffix(p.url(), p.SASToken), whole, "", "403 AuthenticationFailed"},
			"token of another":    {strings.TrimSuffix(p.url(), p.SASToken) + other.SASToken, whole, "", "403 AuthenticationFailed"},
			"longer token":        {strings.Replace(p.url(), "se=", "se=9", 1), whole, "", "403 AuthenticationFailed"},
			"no container":        {"https://" + p.HostName + "/elsewhere/a" + p.SASToken, whole, "", "404 ResourceNotFound"},
			"no type":             {p.url(), nil, "", "400 InvalidHeaderValue"},
			"page blob":           {p.url(), map[string]string{"x-ms-blob-type": "PageBlob"}, "", "400 InvalidHeaderValue"},
			"wrong digest":        {p.url(), map[string]string{"x-ms-blob-type": "BlockBlob", "Content-MD5": "AAAA"}, "", "400 Md5Mismatch"},
			"unknown operation":   {p.url() + "&comp=lease", whole, "", "400 InvalidQueryParameterValue"},
			"block without an ID": {p.url() + "&comp=block", nil, "x", "400 InvalidQueryParameterValue"},
			"block ID no base64":  {p.url() + "&comp=block&blockid=%3F", nil, "x", "400 InvalidQueryParameterValue"},
			"block ID too long":   {p.url() + "&comp=block&blockid=" + strings.Repeat("A", 88), nil, "x", "400 InvalidQueryParameterValue"},
			"empty block":         {p.url() + "&comp=block&blockid=" + id, nil, "", "400 InvalidHeaderValue"},
			"no list":             {p.url() + "&comp=blocklist", nil, "<Blocks/>", "400 InvalidXmlDocument"},
			"unknown block":       {p.url() + "&comp=blocklist", nil, "<BlockList><Latest>" + blockID(7) + "</Latest></BlockList>", "400 InvalidBlockList"},
		} {
			response, body := c.https("PUT "+test.request, test.header, test.body)
			assert.Equal(t, test.want, blobCode(t, response, body), name)
		}
		response, body := c.https("DELETE "+p.url(), nil, "")
		assert.Equal(t, "405 UnsupportedHttpVerb", blobCode(t, response, body))
		_, ok := h.Blob("dev1/a")
		assert.False(t, ok)
		assert.Empty(t, h.BlobType("dev1/a"))

		put := func(id string) string {
			response, body := c.https(
				"PUT "+p.url()+"&comp=block&blockid="+url.QueryEscape(id), nil, "x",
			)
			return blobCode(t, response, body)
		}
		longest := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 64)))
		assert.Equal(t, "201", put(longest))
		assert.Equal(t, "201", put(longest), "again")
		assert.Equal(t, "400 InvalidBlobOrBlock", put(blockID(1)))

		time.Sleep(time.Hour - time.Second)
		response, _ = c.https("PUT "+p.url(), whole, "in time")
		assert.Equal(t, 201, response.StatusCode)
		time.Sleep(time.Second)
		response, body = c.https("PUT "+p.url(), whole, "late")
		assert.Equal(t, "403 AuthenticationFailed", blobCode(t, response, body))
	})
}

func TestPlacesAreGoodForAsLongAsTheHubSays(t *testing.T) {
	inWeb(t, func(t *testing.T, h *Hub, c *client) {
		before := c.begin("a")
		h.SetUploadTTL(time.Minute)
		p := c.begin("a")
		put := func(p place) int {
			response, _ := c.https(
				"PUT "+p.url(), map[string]string{"x-ms-blob-type": "BlockBlob"}, "x",
			)
			return response.StatusCode
		}
		time.Sleep(time.Minute - time.Second)
		assert.Equal(t, 201, put(p))
		time.Sleep(time.Second)
		assert.Equal(t, 403, put(p))
		assert.Equal(t, 400, c.notify(p, true).StatusCode)
		assert.Equal(t, 201, put(before), "it keeps its time")
		assert.Equal(t, 204, c.notify(before, true).StatusCode)
	})
}

func TestUploadLimits(t *testing.T) {
	inWeb(t, func(t *testing.T, h *Hub, c *client) {
		var places []place
		for i := range 10 {
			places = append(places, c.begin(fmt.Sprint(i)))
		}
		again := func() int {
			response, body := c.https("POST /files", nil, `{"blobName":"one more"}`)
			if response.StatusCode == 200 {
				return 0
			}
			code, _, _ := refused(t, response, body)
			return code
		}
		assert.Equal(t, 403006, again())
		require.NoError(t, h.Put(Device{ID: "dev2"}))
		device(t, h, "dev2").begin("other devices are not concerned")
		assert.Equal(t, 204, c.notify(places[0], false).StatusCode)
		assert.Zero(t, again())
		assert.Equal(t, 403006, again())
		time.Sleep(time.Hour)
		c.password = token(t, hubHost+"/devices/dev1", mustKey(h), h.network.Now().Add(time.Hour))
		assert.Zero(t, again(), "the others have expired")

		for body, want := range map[string]int{
			`{"correlationId":"unknown","isSuccess":true}`:                               400015,
			`{"correlationId":` + quoted(places[1].CorrelationID) + `,"isSuccess":true}`: 400016,
			`{"correlationId":` + quoted(places[0].CorrelationID) + `,"isSuccess":true}`: 400015,
			`{"correlationId":` + quoted(places[0].CorrelationID) + `}`:                  400006,
			`{`: 400006,
		} {
			response, text := c.https("POST /files/notifications", nil, body)
			code, _, _ := refused(t, response, text)
			assert.Equal(t, want, code, body)
		}
		for name, want := range map[string]int{
			"": 400004, "a/": 400004, "a.": 400004, "a\x01": 400004,
			strings.Repeat("x", 896): 400004, strings.Repeat("a/", 255) + "a": 400004,
		} {
			response, text := c.https("POST /files", nil, `{"blobName":`+quoted(name)+`}`)
			code, _, _ := refused(t, response, text)
			assert.Equal(t, want, code, name)
		}
		response, text := c.https("POST /files", nil, `{`)
		code, _, _ := refused(t, response, text)
		assert.Equal(t, 400006, code)
		h.ResetLog()
		assert.Len(t, h.Uploads(), 12, "those that go on")

		// Older clients say in the path which upload it was.
		p := c.begin(strings.Repeat("x", 895))
		response, _ = c.https(
			"POST /files/notifications/"+url.PathEscape(p.CorrelationID), nil,
			`{"isSuccess":false,"statusCode":500}`,
		)
		assert.Equal(t, 204, response.StatusCode)
	})
}

func mustKey(h *Hub) string {
	d, _ := h.Get("dev1")
	return d.PrimaryKey
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestStorageFaults(t *testing.T) {
	inWeb(t, func(t *testing.T, h *Hub, c *client) {
		p := c.begin("a")
		whole := map[string]string{"x-ms-blob-type": "BlockBlob"}
		h.Inject(Fault{On: BlobPut, DeviceID: "dev2", Status: 500})
		h.Inject(Fault{
			On: BlobPut, Status: 503, ErrorCode: "ServerBusy", RetryAfter: "3", Delay: time.Second,
		})
		start := time.Now()
		response, body := c.https("PUT "+p.url(), whole, "hello")
		assert.Equal(t, "503 ServerBusy", blobCode(t, response, body))
		assert.Equal(t, "3", response.Header.Get("Retry-After"))
		assert.Equal(t, time.Second, time.Since(start))
		h.Inject(Fault{On: BlobPut, Cut: true})
		_, _, err := c.tryHTTPS("PUT "+p.url(), whole, "hello")
		assert.Error(t, err)
		_, ok := h.Blob("dev1/a")
		assert.False(t, ok)
		h.Inject(Fault{On: BlobPut, Close: true, Stored: true})
		_, _, err = c.tryHTTPS("PUT "+p.url(), whole, "hello")
		assert.Error(t, err)
		_, ok = h.Blob("dev1/a")
		assert.True(t, ok)
		h.network.SetFault(h.BlobHost(), simnet.Refused)
		_, _, err = c.tryHTTPS("PUT "+p.url(), whole, "hello")
		assert.Error(t, err)
		h.network.SetFault(h.BlobHost(), simnet.None)
		nc, err := h.network.DialContext(t.Context(), "tcp", h.BlobHost()+":8883")
		require.NoError(t, err)
		require.NoError(t, nc.Close(), "it has no MQTT")
	})
}

func FuzzBlockList(f *testing.F) {
	f.Add(
		[]byte("<BlockList><Latest>YQ==</Latest><Committed>Yg==</Committed><Uncommitted>YQ==</" +
			"Uncommitted></BlockList>"),
	)
	f.Add([]byte("<BlockList/>"))
	f.Fuzz(func(t *testing.T, list []byte) {
		b := &blob{
			blocks: map[string][]byte{"YQ==": []byte("a")},
			chosen: map[string][]byte{"Yg==": []byte("b")}, pending: 1,
		}
		if refused := b.commit(http.Header{}, list); refused != nil {
			require.Nil(t, b.whole)
			require.Equal(t, 400, refused.status)
			require.Len(t, b.blocks, 1, "what was put stays")
			return
		}
		require.NotNil(t, b.whole)
		require.LessOrEqual(t, len(b.whole), len(list))
		require.Empty(t, b.blocks)
	})
}

func FuzzBlobPath(f *testing.F) {
	f.Add("/uploads/dev1/a%20b")
	f.Fuzz(func(t *testing.T, path string) {
		name, ok := blobName(path)
		require.Equal(t, ok, name != "" && ok)
		if ok {
			require.True(t, strings.HasPrefix(path, "/uploads/"))
		}
	})
}

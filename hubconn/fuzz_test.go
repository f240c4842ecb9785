// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/https"
	"github.com/rehome-iot/rehome/internal/mqtt"
)

// Whatever a topic holds there is a message: none can be stuck in the hub's queue because it cannot
// be read.
func FuzzMessageTopic(f *testing.F) {
	f.Add("messages/devicebound/%24.mid=1&%24.to=%2Fdevices%2Fd&a=b&c&iothub-ack=full&" +
		"$.exp=2026-03-01T12:00:00.0000000Z/")
	f.Add("inputs/in%201/a=b")
	f.Add("messages/devicebound/%zz=%&&=&=x&$.exp=soon")
	f.Fuzz(func(t *testing.T, topic string) {
		m := parseMessage(topic)
		for name := range m.Properties {
			assert.NotEmpty(t, name)
		}
		if m.Expiry.IsZero() {
			return
		}
		assert.Equal(t, time.UTC, m.Expiry.Location())
	})
}

// What Send writes, the other side reads; so this is what both sides of the same rules agree on.
func FuzzPropertyThereAndBack(f *testing.F) {
	f.Add("a b", "c&d=e/f?g", "1")
	f.Fuzz(func(t *testing.T, name, value, id string) {
		sent := Message{MessageID: id, Properties: map[string]string{name: value}}
		topic, err := sent.topic(Hub{DeviceID: "d"}, "messages/devicebound/")
		if err != nil || strings.HasPrefix(name, "$.") || name == "iothub-ack" {
			return
		}
		got := parseMessage(topic)
		assert.Equal(t, sent.Properties, got.Properties)
		assert.Equal(t, id, got.MessageID)
	})
}

func FuzzAnswerTopic(f *testing.F) {
	f.Add("$iothub/twin/res/204/?$rid=1f&$version=7", []byte(nil))
	f.Add("$iothub/twin/res/429/?%24rid=1&retry-after=7", []byte(`{"errorCode":429001}`))
	f.Add("$iothub/twin/res/", []byte("x"))
	f.Fuzz(func(t *testing.T, topic string, body []byte) {
		a, ok := parseTwinResponse(topic, body)
		if !ok {
			return
		}
		assert.NotEmpty(t, a.id)
		assert.True(t, a.status >= 100 && a.status <= 999)
		assert.GreaterOrEqual(t, a.version, int64(0))
		assert.GreaterOrEqual(t, a.wait, time.Duration(0))
		var all twinRequests
		all.deliver(a) // that nobody waits for
		err := (&Conn{}).checkTwinResponse("twin", a)
		if a.status/100 != 2 {
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "\n")
			assert.NotEqual(t, Rejected, ClassOf(err))
		}
	})
}

func FuzzPatch(f *testing.F) {
	f.Add("$iothub/twin/PATCH/properties/desired/?$version=7", []byte(`{"a":1,"$version":7}`))
	f.Add("$iothub/twin/PATCH/properties/desired/?$version=-1", []byte(`null`))
	f.Fuzz(func(t *testing.T, topic string, body []byte) {
		p := parsePatch(topic, body)
		if !p.readable {
			return
		}
		assert.Positive(t, p.properties.Version)
		checkProperties(t, p.properties)
	})
}

func FuzzTwin(f *testing.F) {
	f.Add([]byte(`{"desired":{"a":1e400,"$version":2},"reported":{"$version":1,"$metadata":{}}}`))
	f.Add([]byte(`{"desired":null}`))
	f.Add([]byte(`{"desired":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		twin, err := parseTwin(body)
		if err == nil {
			checkProperties(t, twin.Desired)
			checkProperties(t, twin.Reported)
		}
	})
}

func checkProperties(t *testing.T, p Properties) {
	var members map[string]json.RawMessage
	require.NoError(t, p.Decode(&members))
	require.NotNil(t, members, "an object, always")
	assert.NotContains(t, members, "$version")
	assert.NotContains(t, members, "$metadata")
	assert.GreaterOrEqual(t, p.Version, int64(0))
}

func FuzzCall(f *testing.F) {
	f.Add("$iothub/methods/POST/reboot/?$rid=7", []byte(`{"a":1}`))
	f.Add("$iothub/methods/POST/a%20b/?$rid=a/b?c", []byte(nil))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		c, ok := parseCall(topic, payload, time.Now())
		if !ok {
			return
		}
		assert.NotEmpty(t, c.name)
		assert.True(
			t, strings.HasSuffix(methodResponse{status: 200}.topic(c.id), "="+c.id), "as it came",
		)
		r := (&Conn{}).handle(t.Context(), c, Methods{})
		assert.Equal(t, 501, r.status)
	})
}

// Whatever the hub answers, the file goes to the host that it names, as one blob, and the token is
// not shown.
func FuzzPlace(f *testing.F) {
	f.Add([]byte(
		`{"correlationId":"c","hostName":"x.blob.core.windows.net","containerName":"uploads","blobName":"d/a b.txt","sasToken":"?sv=1&sig=a%2Fb"}`,
	))
	f.Add([]byte(
		`{"correlationId":"c","hostName":"x","containerName":"u","blobName":"../../x?y#z","sasToken":"sig=a#b"}`,
	))
	f.Add([]byte(
		`{"correlationId":"c","hostName":"x/y@z","containerName":"u","blobName":"b","sasToken":"s"}`,
	))
	f.Add([]byte(
		`{"correlationId":"c","hostName":"x","containerName":"..","blobName":"b","sasToken":"s"}`,
	))
	for _, end := range []string{"9999-12-31T23:59:59Z", "2026-03-01", "2026-03-01T12:00Z"} {
		f.Add([]byte(`{"correlationId":"c","hostName":"x","containerName":"u","blobName":"b",` +
			`"sasToken":"sig=a&se=` + end + `"}`))
	}
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parseBlobLocation(body)
		if err != nil {
			assert.NotContains(t, err.Error(), "sig=")
			return
		}
		u, err := url.Parse(p.url())
		require.NoError(t, err, p.url())
		assert.Equal(t, p.HostName, u.Host)
		assert.Nil(t, u.User)
		assert.Empty(t, u.Fragment)
		assert.Equal(t, p.SASToken, u.RawQuery)
		if utf8.ValidString(p.BlobName) {
			assert.Equal(t, "/"+p.ContainerName+"/"+p.BlobName, u.Path)
		}
		segments := strings.Split(u.EscapedPath(), "/")
		assert.Len(t, segments, 3+strings.Count(p.BlobName, "/"))
		assert.NotContains(t, segments, ".")
		assert.NotContains(t, segments, "..", "no way up")
		before := time.Now()
		if until := p.lapses(now); !until.IsZero() {
			assert.False(t, until.Before(before), "a token that is over says nothing")
			assert.Contains(t, u.Query(), "se")
		}
	})
}

func FuzzDelivery(f *testing.F) {
	f.Add("ETag", `"abc"`, "Iothub-App-a", "b", []byte("x"))
	f.Add("Iothub-Expiry", "1/2/2006 3:04:05 PM", "Iothub-Sequencenumber", "-1", []byte(nil))
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string, body []byte) {
		m := messageOf(https.Response{
			Status: 200, Header: http.Header{name1: {value1}, name2: {value2}}, Body: body,
		})
		assert.NotContains(t, m.LockToken, "\n")
		assert.NotContains(t, m.Properties, "")
		assert.Equal(t, body, m.Body)
	})
}

// Whatever the hub says to a request for a certificate, there is a chain or one clear error.
func FuzzIssueAnswer(f *testing.F) {
	f.Add("$iothub/credentials/res/200/?$rid=abcd", []byte(`{"certificates":["eA==","eQ=="]}`))
	f.Add("$iothub/credentials/res/202/?$rid=abcd&$version=1",
		[]byte(`{"operationExpires":"2026-01-31T12:52:20.565000000Z"}`))
	f.Add("$iothub/credentials/res/409/?%24rid=abcd", []byte(
		`{"errorCode":409004,"message":"m","info":{"requestId":"R0R0","operationExpires":"x",`+
			`"credentialMessage":"a\nb"},"retryAfter":30}`,
	))
	f.Add("$iothub/credentials/res/200/?$rid=abcd", make([]byte, maxIssueAnswer+1))
	f.Fuzz(func(t *testing.T, topic string, body []byte) {
		acked := 0
		a, ok := parseIssueAnswer(mqtt.Message{
			Topic: topic, Payload: body, Ack: func() { acked++ },
		})
		if !ok {
			return
		}
		assert.NotEmpty(t, a.id)
		c := &Conn{}
		c.certificates().deliver(a)
		w := c.certificates().expect(a.id)
		if a.status == 200 {
			_, final := w.take()
			if len(body) > maxIssueAnswer {
				assert.Nil(t, final, "it is of no use later")
				assert.Equal(t, 1, acked)
			} else {
				assert.Same(t, a, final)
				assert.Zero(t, acked, "nobody has it yet")
			}
		}
		c.certificates().deliver(a)
		started, final := w.take()
		if a.status == 202 {
			assert.Nil(t, final)
			assert.Same(t, a, started)
			return
		}
		require.Same(t, a, final)
		chain, err := c.readIssueAnswer(a)
		assert.Positive(t, acked)
		if err == nil {
			assert.NotEmpty(t, chain)
			assert.NotContains(t, chain, "")
			return
		}
		e, ok := errors.AsType[*Error](err)
		require.True(t, ok)
		assert.Empty(t, chain)
		assert.NotContains(t, err.Error(), "\n")
		assert.GreaterOrEqual(t, e.RetryAfter(), time.Duration(0))
		assert.Equal(t, a.status == 409, e.Pending != nil)
	})
}

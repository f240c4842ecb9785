// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/oneline"
)

// spoken answers every request with the same bytes.
type spoken []byte

func (s spoken) RoundTrip(r *http.Request) (*http.Response, error) {
	return http.ReadResponse(bufio.NewReader(bytes.NewReader(s)), r)
}

// Whatever a webhook answers, there is an allocation after a 200 with a JSON object alone, or one
// clear error, which shows nothing of the webhook's address: its query may hold a key.
func FuzzWebhookAnswer(f *testing.F) {
	for _, answer := range []string{
		"200 OK\r\n\r\n" + `{"iotHubHostName":"hub-a.azure-devices.net","payload":{"a":[1]},` +
			`"initialTwin":{"tags":{"b":"c"},"properties":{"desired":{"d":1}}}}`,
		"200 OK\r\n\r\n" + `{"iotHubHostName":null,"payload":null}`, "200 OK\r\n\r\nnull",
		"500 \r\n\r\n" + `{"iotHubHostName":"hub-a.azure-devices.net"}`, "200 OK\r\n\r\n[]", "200 OK\r\n\r\n" + `{"iotHubHostName":7}`, "204 No\r\n\r\n",
		"200 OK\r\n\r\n" + `{"iotHubHostName":"a\u0000b"} {}`, "302 \r\nLocation: /\r\n\r\n",
		"500 \r\nContent-Length: 9\r\n\r\n<html>", "200 OK\r\nContent-Length: 9\r\n\r\n{}",
		"200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n{}",
		"200 OK\r\nContent-Encoding: x\r\n\r\n{",
	} {
		f.Add([]byte("HTTP/1.1 " + answer))
	}
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n" +
		`{"iotHubHostName":"` + strings.Repeat("\xff", maxWebhookResponse/2) + `"}`))
	network := simnet.New()
	f.Cleanup(func() { require.NoError(f, network.Close()) })
	f.Fuzz(func(t *testing.T, said []byte) {
		s := &Server{network: network, cfg: Config{
			Webhook: &http.Client{
				Transport: spoken(said), CheckRedirect: func(*http.Request, []*http.Request) error {
					return http.ErrUseLastResponse
				},
			},
			WebhookTimeout: time.Minute,
		}}
		dev := attested{by: TypeSymmetricKey, terms: terms{webhook: &CustomAllocationDefinition{
			WebhookURL: "https://site.example/allocate?code=canary",
		}}}
		got, err := s.callWebhook(t.Context(), Allocation{RegistrationID: "d"}, dev)
		if err != nil {
			assert.Zero(t, got)
			text := err.Error()
			assert.Equal(t, oneline.Of(text, 200), text, "one line of what prints")
			assert.NotContains(t, text, "canary")
			assert.NotContains(t, text, "site.example")
			return
		}
		answer, err := spoken(said).RoundTrip(nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, answer.StatusCode)
		assert.True(t, got.Payload == nil || json.Valid(got.Payload), "%q", got.Payload)
		assert.NotEqual(t, "null", string(got.Payload))
		// by characters: what is no UTF-8 becomes three bytes for each of its own
		size := len(got.Payload) + utf8.RuneCountInString(got.Hub)
		assert.LessOrEqual(t, size, maxWebhookResponse)
		if got.InitialTwin != nil {
			_, err := json.Marshal(got.InitialTwin)
			assert.NoError(t, err)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
)

func TestARefusalIsReadInEveryShape(t *testing.T) {
	const tracking = "0123456789abcdef0123456789abcdef-G:4-TimeStamp:09/23/2019 16:17:08"
	for name, row := range map[string]struct {
		status int
		header string
		body   string
		want   refusal
	}{
		"name in the message": {401, "IotHubUnauthorizedAccess",
			`{"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized","ExceptionMessage":"Tracking ID:` + tracking + `"}`,
			refusal{401002, "IotHubUnauthorizedAccess", "Unauthorized", tracking}},
		"object in the message": {
			403, "IotHubQuotaExceeded",
			`{"Message":"{\"errorCode\":403002,\"trackingId\":\"` + tracking +
				`\",\"message\":\"Total number of messages exceeded.\",\"timestampUtc\":\"2019-09-23\"}","ExceptionMessage":""}`,
			refusal{403002, "IotHubQuotaExceeded", "Total number of messages exceeded.", tracking},
		},
		"the object itself": {
			400, "",
			`{"errorCode":400004,"trackingId":"` + tracking +
				`","message":"bad","timestampUtc":"2019-09-23"}`,
			refusal{400004, "", "bad", tracking},
		},
		"code as a string": {404, "", `{"errorCode":"404001","message":"gone"}`, refusal{404001, "", "gone", ""}},
		"throttling": {
			429, "",
			`{"Message":"ErrorCode:ThrottlingBacklogTimeout;The request has been throttled. Wait 10 seconds and try again.","ExceptionMessage":"Tracking ID:1"}`,
			refusal{
				429003, "ThrottlingBacklogTimeout",
				"The request has been throttled. Wait 10 seconds and try again.", "1",
			},
		},
		"body and header disagree":  {403, "DeviceNotFound", `{"Message":"{\"errorCode\":403002}"}`, refusal{403002, "DeviceNotFound", "", ""}},
		"name and header disagree":  {404, "DeviceNotFound", `{"Message":"ErrorCode:IotHubFailingOver;wait"}`, refusal{404012, "DeviceNotFound", "wait", ""}},
		"header alone":              {404, "DeviceNotFound", "", refusal{404001, "DeviceNotFound", "", ""}},
		"header is a number":        {404, "404001", "", refusal{404001, "404001", "", ""}},
		"unknown name":              {404, "NewThing", "", refusal{404000, "NewThing", "", ""}},
		"unknown name in body":      {404, "DeviceNotFound", `{"Message":"ErrorCode:NewThing;what"}`, refusal{404001, "DeviceNotFound", "what", ""}},
		"nothing":                   {502, "", "", refusal{502000, "", "", ""}},
		"HTML":                      {503, "", "<html><body>503</body></html>", refusal{503000, "", "", ""}},
		"truncated":                 {403, "IotHubQuotaExceeded", `{"Message":"{\"errorCode\":4030`, refusal{403002, "IotHubQuotaExceeded", "", ""}},
		"truncated inner object":    {403, "", `{"Message":"{\"errorCode\":4030","ExceptionMessage":"Tracking ID:7"}`, refusal{403000, "", "", "7"}},
		"wrong types":               {403, "", `{"Message":["x"],"ExceptionMessage":7}`, refusal{403000, "", "", ""}},
		"an array":                  {403, "", `[1,2]`, refusal{403000, "", "", ""}},
		"null":                      {403, "", `null`, refusal{403000, "", "", ""}},
		"code out of range":         {403, "", `{"errorCode":7}`, refusal{403000, "", "", ""}},
		"code with a fraction":      {403, "", `{"errorCode":403002.5}`, refusal{403000, "", "", ""}},
		"enormous code":             {403, "", `{"errorCode":99999999999999999999}`, refusal{403000, "", "", ""}},
		"lines in the message":      {403, "", `{"message":"a\r\nb\u2028c"}`, refusal{403000, "", "a  b c", ""}},
		"lines in the header":       {403, "A\x00B\nC", "", refusal{403000, "A B C", "", ""}},
		"a message without a name":  {403, "", `{"Message":"plain; text"}`, refusal{403000, "", "plain; text", ""}},
		"a name without a message":  {403, "", `{"Message":"ErrorCode:DeviceDisabled"}`, refusal{403000, "", "ErrorCode:DeviceDisabled", ""}},
		"deeply wrapped is left be": {403, "", `{"Message":"{\"Message\":\"{}\"}"}`, refusal{403000, "", "{}", ""}},
	} {
		assert.Equal(t, row.want, parseRefusal(row.status, row.header, []byte(row.body)), name)
	}
}

func FuzzRefusal(f *testing.F) {
	f.Add(401, "IotHubUnauthorizedAccess", []byte(
		`{"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized","ExceptionMessage":"Tracking ID:1"}`,
	))
	f.Add(403, "", []byte(
		`{"Message":"{\"errorCode\":403002,\"trackingId\":\"1\",\"message\":\"m\"}","ExceptionMessage":""}`,
	))
	f.Add(400, "", []byte(`{"errorCode":400004}`))
	f.Add(503, "", []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, header string, body []byte) {
		if status < 100 || status > 999 {
			return
		}
		r := parseRefusal(status, header, body)
		assert.True(t, r.code >= 100000 && r.code <= 999999, "%d", r.code)
		assert.LessOrEqual(t, len(r.name), 64)
		assert.LessOrEqual(t, len(r.message), 256)
		assert.LessOrEqual(t, len(r.trackingID), 128)
		for _, text := range []string{r.name, r.message, r.trackingID} {
			assert.False(t, strings.ContainsFunc(text, func(c rune) bool {
				return c > unicode.MaxASCII || unicode.IsControl(c)
			}), "%q", text)
		}
		class := codeClass(r.code)
		assert.NotEqual(t, Caller, class)
		assert.NotEqual(t, Untrusted, class)
	})
}

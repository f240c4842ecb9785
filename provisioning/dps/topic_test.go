// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestResponseTopicIsReadInAnyOrderAndCase(t *testing.T) {
	for topic, want := range map[string][3]any{
		"$dps/registrations/res/202/?$rid=1&retry-after=3":               {202, "1", "3"},
		"$dps/registrations/res/202/?retry-after=3&$rid=1":               {202, "1", "3"},
		"$dps/registrations/res/429/?$RID=abc&Retry-After=10":            {429, "abc", "10"},
		"$dps/registrations/res/200/?$rid=3":                             {200, "3", ""},
		"$dps/registrations/res/202/?$rid=1&other=x&retry-after=":        {202, "1", ""},
		"$dps/registrations/res/202/?$rid=a%2Fb&flag":                    {202, "a/b", ""},
		"$dps/registrations/res/401/?$rid=1&retry-after=Mon,%2001%20Jan": {401, "1", "Mon, 01 Jan"},
	} {
		status, id, retryAfter, ok := parseResponseTopic(topic)
		assert.True(t, ok, topic)
		assert.Equal(t, want, [3]any{status, id, retryAfter}, topic)
	}
	for _, topic := range []string{
		"", "$dps/registrations/res/", "$dps/registrations/res/202", "$dps/registrations/res/202/?",
		"$dps/registrations/res/202/?rid=1", "$dps/registrations/res/202/?$rid=",
		"$dps/registrations/res/two/?$rid=1", "$dps/registrations/res/-1/?$rid=1",
		"$dps/registrations/res/1000/?$rid=1", "$dps/registrations/res/0/?$rid=1",
		"$iothub/twin/res/200/?$rid=1",
	} {
		_, _, _, ok := parseResponseTopic(topic)
		assert.False(t, ok, topic)
	}
}

func FuzzResponseTopic(f *testing.F) {
	f.Add("$dps/registrations/res/202/?$rid=1&retry-after=3")
	f.Add("$dps/registrations/res/202/?retry-after=3&$rid=%zz")
	f.Fuzz(func(t *testing.T, topic string) {
		status, id, _, ok := parseResponseTopic(topic)
		if ok && (status < 100 || status > 999 || id == "") {
			t.Errorf("%q read as %d %q", topic, status, id)
		}
	})
}

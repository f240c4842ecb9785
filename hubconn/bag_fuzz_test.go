// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whatever a property bag has, each of its pairs is a property with the value that stands last in
// the bag, decoded where it is percent-encoding; and what the hub's names stand for is in the
// message's fields and not among the application's properties. A second reader, written from the
// service's documentation, sees the same.
func FuzzPropertyBag(f *testing.F) {
	for _, bag := range []string{
		"a=b&c=d", "%24.mid=1&$.ct=x%2Fy/", "?a", "a=%zz&=&&", "%24.=x", "a=1&a=2&%61=3",
		"iothub-ack=full&$.cid=c&$.uid=u&$.to=%2Fdevices%2Fd&$.ce=utf-8&$.sub=s&$.on=o",
		"a=b=c&d=%E2%82%ac&e=+&f=%00", "$.exp=2026-03-01T12:00:00Z&$.ctime=never", "a/b=c/d//",
	} {
		f.Add(bag)
	}
	f.Fuzz(func(t *testing.T, bag string) {
		decoded := func(s string) string {
			plain, err := url.QueryUnescape(strings.ReplaceAll(s, "+", "%2B"))
			if err != nil {
				return s
			}
			return plain
		}
		want := map[string]string{}
		for pair := range strings.SplitSeq(
			strings.TrimPrefix(strings.TrimSuffix(bag, "/"), "?"), "&",
		) {
			parts := strings.SplitN(pair, "=", 2)
			want[decoded(parts[0])] = decoded(strings.Join(parts[1:], ""))
		}
		delete(want, "")
		m := parseMessage("messages/devicebound/" + bag)
		for name, field := range map[string]string{
			"$.mid": m.MessageID, "$.cid": m.CorrelationID, "$.uid": m.UserID, "$.to": m.To,
			"$.ct": m.ContentType, "$.ce": m.ContentEncoding, "$.sub": m.Component,
			"$.on": m.Output, "iothub-ack": m.Ack,
		} {
			assert.Equal(t, want[name], field, name)
			delete(want, name)
		}
		for _, name := range []string{"$.exp", "$.ctime"} {
			delete(want, name)
		}
		require.Len(t, m.Properties, len(want))
		for name, value := range want {
			assert.Equal(t, value, m.Properties[name], "%q", name)
		}
		assert.Equal(t, m, parseMessage("messages/devicebound/"+bag), "the same each time")
	})
}

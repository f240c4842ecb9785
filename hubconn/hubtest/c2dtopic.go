// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// c2dTopic is the topic a message is published to: its properties are in it.
func c2dTopic(id string, m *C2D) string {
	device, module := splitID(id)
	var b strings.Builder
	b.WriteString("devices/" + device)
	switch {
	case m.Input != "":
		b.WriteString("/modules/" + module + "/inputs/" + m.Input + "/")
	case module != "":
		b.WriteString("/modules/" + module + "/messages/devicebound/")
	default:
		b.WriteString("/messages/devicebound/")
	}
	separator := ""
	put := func(name, value string) {
		b.WriteString(separator + escape(name) + "=" + escape(value))
		separator = "&"
	}
	for _, p := range [][2]string{
		{"$.mid", m.MessageID}, {"$.cid", m.CorrelationID}, {"$.uid", m.UserID}, {"$.to", m.To},
		{"$.exp", stamp(m.Expiry)}, {"$.ct", m.ContentType}, {"$.ce", m.ContentEncoding},
		{"iothub-ack", m.Ack},
	} {
		if p[1] != "" {
			put(p[0], p[1])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Properties)) {
		put(name, m.Properties[name])
	}
	return b.String()
}

// stamp writes a time as the service does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// escape percent-encodes all but the unreserved characters of RFC 3986.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// isInput reports whether a text can be the name of a module input: one level of a topic.
func isInput(name string) bool { return name != "" && !strings.ContainsAny(name, "/+#\x00") }

// c2dFilter returns the filter among a client's subscriptions that a message is delivered through,
// if there is one.
func c2dFilter(id string, m *C2D, subscriptions map[string]byte) (qos byte, ok bool) {
	device, module := splitID(id)
	wanted := commandFilters(device)
	if module != "" {
		own, kind := "devices/"+device+"/modules/"+module+"/", "messages/devicebound/#"
		if m.Input != "" {
			kind = "inputs/#"
		}
		wanted = []string{own + kind, own + "#"}
	}
	for filter, granted := range subscriptions {
		if slices.Contains(wanted, ownFilter(id, filter)) {
			qos, ok = max(qos, granted), true
		}
	}
	return qos, ok
}

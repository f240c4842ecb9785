// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"net/url"
	"strings"
)

// Topics (Azure docs: "Communicate with an IoT hub using the MQTT protocol"; those of credentials:
// "Certificate management in Azure IoT Hub").
const (
	issueRequests  = "$iothub/credentials/POST/issueCertificate/?$rid="
	issueResponses = "$iothub/credentials/res/"
	twinResponses  = "$iothub/twin/res/"
	desiredPatches = "$iothub/twin/PATCH/properties/desired/"
	methodCalls    = "$iothub/methods/POST/"
)

// escape is percent-encoding by RFC 3986: all but unreserved characters, a space as %20.
func escape(s string) string {
	var b strings.Builder
	b.Grow(escapedLen(s))
	escapeTo(&b, s)
	return b.String()
}

func escapedLen(s string) int {
	n := len(s)
	for i := range len(s) {
		if !unreserved[s[i]] {
			n += 2
		}
	}
	return n
}

func escapeTo(b *strings.Builder, s string) {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; unreserved[c] {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
}

var unreserved = func() (set [256]bool) {
	for _, c := range []byte(alphanumeric + "-._~") {
		set[c] = true
	}
	return set
}()

// unescape is the opposite; what is no percent-encoding stays as it is, so that no message is
// unreadable.
func unescape(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}

// parameters calls yield with each parameter of a topic's query, decoded: "$rid", "$version".
// Unlike a property bag it follows a question mark.
func parameters(query string, yield func(name, value string)) {
	_, query, _ = strings.Cut(query, "?")
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		yield(unescape(name), value)
	}
}

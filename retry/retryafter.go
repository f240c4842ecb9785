// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"strings"
	"time"
)

// MaxRetryAfter is the longest wait that [ParseRetryAfter] returns, about 146
// years. Half the range of a time.Duration is left for what is added to it.
const MaxRetryAfter time.Duration = 1 << 62

// LongestHonoured is the longest Retry-After that the packages of this module honour:
// then comes one careful try. A date in the year 9999 would be a truck roll otherwise.
const LongestHonoured = 24 * time.Hour

// minRetryAfter keeps "0" and a date that has passed from being a busy loop.
const minRetryAfter = time.Second

// httpDates are the three forms a recipient must accept (RFC 9110 §5.6.7).
var httpDates = []string{
	"Mon, 02 Jan 2006 15:04:05 GMT",
	rfc850,
	time.ANSIC,
}

const rfc850 = "Monday, 02-Jan-06 15:04:05 GMT"

// ParseRetryAfter reads a Retry-After value (RFC 9110 §10.2.3), either seconds or
// an HTTP date in any of its three forms, and the retry-after parameter of the
// provisioning service's MQTT topics, which is seconds.
//
// A date is read against date, the response's own Date, so that the device's clock
// does not matter; the zero time stands for a response without one and is replaced
// by time.Now. Waits below a second, "0" and dates that have passed are one
// second. Values too large for a time.Duration are MaxRetryAfter: never earlier
// than asked. Empty, negative, fractional and malformed values are ok false, as if
// nothing had been asked.
func ParseRetryAfter(value string, date time.Time) (d time.Duration, ok bool) {
	value = strings.Trim(value, " \t")
	if value == "" {
		return 0, false
	}
	if d, ok := parseSeconds(value); ok {
		return clampRetryAfter(d), true
	}
	if date.IsZero() {
		date = time.Now()
	}
	at, ok := parseHTTPDate(value, date)
	if !ok {
		return 0, false
	}
	return clampRetryAfter(at.Sub(date)), true // Sub saturates
}

// parseSeconds reads 1*DIGIT of any length.
func parseSeconds(value string) (time.Duration, bool) {
	const most = int64(MaxRetryAfter / time.Second)
	var seconds int64
	for i := range len(value) {
		c := value[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		seconds = min(seconds*10+int64(c-'0'), most+1)
	}
	if seconds > most {
		return MaxRetryAfter, true
	}
	return time.Duration(seconds) * time.Second, true
}

func parseHTTPDate(value string, now time.Time) (time.Time, bool) {
	for _, layout := range httpDates {
		at, err := time.Parse(layout, value)
		if err != nil {
			continue
		}
		if layout == rfc850 {
			at = windowYear(at, now)
		}
		return at, true
	}
	return time.Time{}, false
}

// windowYear gives a two-digit year its century: the latest that is not more than
// 50 years ahead (RFC 9110 §5.6.7).
func windowYear(at, now time.Time) time.Time {
	now = now.UTC()
	next := now.Year() - now.Year()%100 + 100
	at = at.AddDate(next+at.Year()%100-at.Year(), 0, 0)
	for range 2 { // at most: the latest allowed is in this century or the next
		if at.After(now.AddDate(50, 0, 0)) {
			at = at.AddDate(-100, 0, 0)
		}
	}
	return at
}

func clampRetryAfter(d time.Duration) time.Duration {
	return min(max(d, minRetryAfter), MaxRetryAfter)
}

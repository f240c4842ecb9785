// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/retry"
)

// answered is the Date of the answer in every case: 1994-11-06 08:49:07 UTC.
var answered = time.Date(1994, 11, 6, 8, 49, 7, 0, time.UTC)

func TestParseRetryAfter(t *testing.T) {
	tests := map[string]struct {
		value string
		want  time.Duration
		ok    bool
	}{
		"seconds":                     {"120", 2 * time.Minute, true},
		"one second":                  {"1", time.Second, true},
		"zero is no busy loop":        {"0", time.Second, true},
		"zeros":                       {"000", time.Second, true},
		"leading zeros":               {"007", 7 * time.Second, true},
		"surrounding blanks":          {" \t30 ", 30 * time.Second, true},
		"a year":                      {"31536000", 365 * 24 * time.Hour, true},
		"largest int64":               {"9223372036854775807", retry.MaxRetryAfter, true},
		"one above int64":             {"9223372036854775808", retry.MaxRetryAfter, true},
		"wraps uint64 to one":         {"18446744073709551617", retry.MaxRetryAfter, true},
		"a thousand nines":            {strings.Repeat("9", 1000), retry.MaxRetryAfter, true},
		"just inside":                 {"4611686018", 4611686018 * time.Second, true},
		"just outside":                {"4611686019", retry.MaxRetryAfter, true},
		"negative":                    {"-1", 0, false},
		"signed":                      {"+5", 0, false},
		"fraction":                    {"1.5", 0, false},
		"unit":                        {"5s", 0, false},
		"hexadecimal":                 {"0x10", 0, false},
		"list":                        {"5, 6", 0, false},
		"empty":                       {"", 0, false},
		"blank":                       {" \t ", 0, false},
		"word":                        {"later", 0, false},
		"digits of another script":    {"٣", 0, false},
		"line feed":                   {"5\n", 0, false},
		"IMF-fixdate":                 {"Sun, 06 Nov 1994 08:49:37 GMT", 30 * time.Second, true},
		"rfc850 date":                 {"Sunday, 06-Nov-94 08:49:37 GMT", 30 * time.Second, true},
		"asctime date":                {"Sun Nov  6 08:49:37 1994", 30 * time.Second, true},
		"the moment itself":           {"Sun, 06 Nov 1994 08:49:07 GMT", time.Second, true},
		"a date that has passed":      {"Sun, 06 Nov 1994 08:00:00 GMT", time.Second, true},
		"the epoch":                   {"Thu, 01 Jan 1970 00:00:00 GMT", time.Second, true},
		"the far future":              {"Fri, 31 Dec 9999 23:59:59 GMT", retry.MaxRetryAfter, true},
		"rfc850, 50 years at most":    {"Thursday, 01-Nov-44 00:00:00 GMT", time.Date(2044, 11, 1, 0, 0, 0, 0, time.UTC).Sub(answered), true},
		"rfc850, else it is the past": {"Friday, 01-Dec-44 00:00:00 GMT", time.Second, true},
		"rfc850, next century":        {"Saturday, 01-Jan-00 00:00:00 GMT", time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Sub(answered), true},
		"no such day":                 {"Sun, 31 Feb 1994 08:49:37 GMT", 0, false},
		"another zone":                {"Sun, 06 Nov 1994 08:49:37 EST", 0, false},
		"RFC 3339":                    {"1994-11-06T08:49:37Z", 0, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := retry.ParseRetryAfter(test.value, answered)
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.ok, ok)
		})
	}
}

func TestDateIsReadAgainstTheAnswersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // our clock says 2000
		const date = "Wed, 01 Jan 2020 00:01:00 GMT"
		d, ok := retry.ParseRetryAfter(date, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
		assert.True(t, ok)
		assert.Equal(t, time.Minute, d)

		d, ok = retry.ParseRetryAfter("Sat, 01 Jan 2000 00:01:00 GMT", time.Time{})
		assert.True(t, ok)
		assert.Equal(t, time.Minute, d, "an answer without a date is read against our clock")
	})
}

func TestZoneOfTheAnswersDateDoesNotMatter(t *testing.T) {
	east := answered.In(time.FixedZone("east", 14*3600))
	for _, value := range []string{
		"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
		"Sun Nov  6 08:49:37 1994",
	} {
		d, ok := retry.ParseRetryAfter(value, east)
		assert.True(t, ok)
		assert.Equal(t, 30*time.Second, d)
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, value := range []string{
		"", "0", "120", "-1", "99999999999999999999", "Sun, 06 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
		"Thursday, 29-Feb-00 00:00:00 GMT",
	} {
		f.Add(value, int64(784111777))
	}
	f.Fuzz(func(t *testing.T, value string, unix int64) {
		for _, date := range []time.Time{time.Unix(unix, 0), {}} {
			d, ok := retry.ParseRetryAfter(value, date)
			if ok && (d < time.Second || d > retry.MaxRetryAfter) {
				t.Errorf("%q is %v: outside its bounds", value, d)
			}
			if !ok && d != 0 {
				t.Errorf("%q is refused with %v", value, d)
			}
			if delay := (retry.Policy{}).Delay(99, d, 0.99); delay < d {
				t.Errorf("%q makes a delay of %v", value, delay)
			}
		}
	})
}

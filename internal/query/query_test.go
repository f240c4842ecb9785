// SPDX-License-Identifier: Apache-2.0

package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// twins are four devices, in the form that the service writes.
var twins = decode(`[
	{"deviceId":"a","status":"enabled","etag":"x","tags":{"site":{"name":"north"},"n":1,"it's":1},
	 "properties":{"desired":{"fw":"1.0","$version":2},"reported":{"fw":"1.0","ok":true,"$version":1}}},
	{"deviceId":"b","status":"enabled","tags":{"site":{"name":"north"},"n":2,"two words":1},
	 "properties":{"desired":{"fw":"1.1","$version":2},"reported":{"fw":"1.0","ok":false,"$version":2}}},
	{"deviceId":"c","status":"disabled","tags":{"site":{"name":"south"},"n":3.5,"list":[1]},
	 "properties":{"desired":{},"reported":{"none":null}}},
	{"deviceId":"küche","status":"enabled","tags":{},"properties":{"desired":{},"reported":{}}}
]`)

func decode(text string) (docs []map[string]any) {
	if err := json.Unmarshal([]byte(text), &docs); err != nil {
		panic(err)
	}
	return docs
}

func TestConditions(t *testing.T) {
	for condition, want := range map[string]string{
		"deviceId = 'b'": "b", `deviceId = "b"`: "b", "'b' = deviceId": "b", "devices.deviceId = 'b'": "b",
		"deviceId = 'küche'": "küche", "deviceid = 'b'": "",
		"deviceId != 'b'": "a c küche", "deviceId <> 'b'": "a c küche",
		"tags.n > 1": "b c", "tags.n >= 2": "b c", "tags.n < 2": "a", "tags.n <= 2": "a b",
		"tags.n = 3.5": "c", "tags.n = -1": "", "tags.n != 2": "a c", "tags.n > '1'": "",
		"tags.n = 2e0": "b", "deviceId > 'a' AND deviceId <= 'c'": "b c",
		"deviceId in ['a', 'c', 'x']": "a c", "deviceId IN ('b')": "b", "deviceId IN []": "",
		"tags.n IN [1, 2]": "a b", "NOT tags.n IN [1, 2]": "c",
		"tags.n NIN [1, 2]": "c", "NOT tags.n nin [1, 2]": "a b",
		"deviceId NIN ('a', 'b')": "c küche", "tags.n NIN []": "a b c",
		"tags.site.name = 'north' AND NOT deviceId = 'a'": "b",
		"deviceId = 'a' OR deviceId = 'b' AND tags.n = 3": "a",
		"(deviceId = 'a' OR deviceId = 'b') AND tags.n=2": "b",
		"NOT (deviceId = 'a' OR status = 'disabled')":     "b küche",
		"NOT NOT deviceId = 'a'":                          "a",
		// Absent members are neither equal nor different.
		"tags.site.name = 'west'": "", "tags.site.name != 'west'": "a b c",
		"NOT tags.site.name = 'west'":                                "a b c",
		"NOT tags.n = 1 AND status = 'enabled'":                      "b",
		"tags.n = 1 OR status = 'enabled'":                           "a b küche",
		"IS_DEFINED(tags.site)":                                      "a b c",
		"NOT is_defined(tags.site)":                                  "küche",
		"NOT (tags.n = 1 OR tags.n = 2)":                             "c",
		"NOT (tags.n = 1 AND status = 'enabled')":                    "b c",
		"is_defined(properties.reported.none)":                       "c",
		"properties.reported.none = null":                            "c",
		"is_null(properties.reported.none)":                          "c",
		"is_bool(properties.reported.ok)":                            "a b",
		"is_number(tags.n)":                                          "a b c",
		"is_string(deviceId) AND is_array(tags.list)":                "c",
		"is_object(tags.site)":                                       "a b c",
		"is_primitive(tags.n)":                                       "a b c",
		"properties.reported.ok = true":                              "a",
		"properties.reported.ok = FALSE":                             "b",
		"properties.desired.fw = properties.reported.fw":             "a",
		"properties.desired.$version = properties.reported.$version": "b",
		"STARTS_WITH(deviceId, 'k')":                                 "küche",
		"startswith(deviceId, 'k')":                                  "küche",
		"ENDS_WITH(tags.site.name, 'th')":                            "a b c",
		"NOT ENDS_WITH(tags.site.name, 'uth')":                       "a b",
		"endswith(tags.n, '1')":                                      "",
		"contains(deviceId, 'üc')":                                   "küche",
		"tags.[[two words]] = 1":                                     "b",
		"tags.[[it s]] = 1":                                          "",
		"tags.site.name = 'it''s' OR deviceId = 'a\\'b'":             "",
		"tags.n = 1;":                                                "a",
	} {
		q, err := Parse("SELECT * FROM devices WHERE " + condition)
		require.NoError(t, err, condition)
		assert.True(t, q.All())
		assert.Equal(t, "devices", q.From)
		var ids []string
		for _, row := range q.Rows(twins) {
			ids = append(ids, row["deviceId"].(string))
		}
		assert.Equal(t, want, strings.Join(ids, " "), condition)
	}
}

func TestProjections(t *testing.T) {
	for query, want := range map[string]string{
		"*":                           `["a","b","c","küche"]`,
		"SELECT *":                    `["a","b","c","küche"]`,
		"select top 2 * from devices": `["a","b"]`,
		"SELECT deviceId, tags.n FROM devices WHERE status = 'enabled'":      `[{"deviceId":"a","n":1},{"deviceId":"b","n":2},{"deviceId":"küche"}]`,
		"SELECT TOP 1 deviceId AS id FROM devices":                           `[{"id":"a"}]`,
		"SELECT d.deviceId FROM devices d WHERE d.tags.n = 2":                `[{"deviceId":"b"}]`,
		"SELECT d.deviceId AS [[the id]] FROM devices AS d WHERE tags.n = 2": `[{"the id":"b"}]`,
		"SELECT devices.deviceId FROM devices WHERE deviceId = 'c'":          `[{"deviceId":"c"}]`,
		"SELECT COUNT() AS n FROM devices":                                   `[{"n":4}]`,
		"SELECT COUNT() AS n FROM devices WHERE tags.n > 1":                  `[{"n":2}]`,
		"SELECT COUNT() FROM devices WHERE tags.n > 9":                       `[{"count":0}]`,
		"SELECT count(tags.n) AS c, SUM(tags.n) AS s, AVG(tags.n) AS a, MIN(tags.n) AS lo, MAX(tags.n) AS hi, MAX(deviceId) AS last FROM devices": `[{"c":3,"s":6.5,"a":2.1666666666666665,"lo":1,"hi":3.5,"last":"küche"}]`,
		"SELECT AVG(tags.x) AS a FROM devices":                                                              `[{}]`,
		"SELECT status, COUNT() AS n FROM devices GROUP BY status":                                          `[{"status":"enabled","n":3},{"status":"disabled","n":1}]`,
		"SELECT tags.site.name AS site, status, COUNT() AS n FROM devices GROUP BY tags.site.name, status":  `[{"site":"north","status":"enabled","n":2},{"site":"south","status":"disabled","n":1},{"status":"enabled","n":1}]`,
		"SELECT properties.reported.none AS x, COUNT() AS n FROM devices GROUP BY properties.reported.none": `[{"n":3},{"x":null,"n":1}]`,
		"SELECT COUNT() AS n FROM devices GROUP BY status":                                                  `[{"n":3},{"n":1}]`,
		"SELECT status FROM devices WHERE deviceId='x' GROUP BY status":                                     `[]`,
	} {
		q, err := Parse(query)
		require.NoError(t, err, query)
		var got any = q.Rows(twins)
		if q.All() {
			var ids []string
			for _, row := range q.Rows(twins) {
				ids = append(ids, row["deviceId"].(string))
			}
			got = ids
		}
		text, err := json.Marshal(got)
		require.NoError(t, err)
		assert.JSONEq(t, want, string(text), query)
	}
	q, err := Parse("SELECT deviceId FROM Devices.Modules " +
		"WHERE devices.modules.moduleId = '$edgeHub' AND devices.deviceId = 'a'")
	require.NoError(t, err)
	assert.Equal(t, "devices.modules", q.From)
	assert.False(t, q.All())
	assert.True(t, q.Matches(map[string]any{"deviceId": "a", "moduleId": "$edgeHub"}))
}

func TestWhatIsBeyondAllNumbersIsAbsent(t *testing.T) {
	q, err := Parse("SELECT SUM(n) AS s, AVG(n) AS a, MAX(n) AS hi FROM devices")
	require.NoError(t, err)
	rows := q.Rows(decode(`[{"n":1e308},{"n":1e308}]`))
	assert.Equal(t, []map[string]any{{"hi": 1e308}}, rows)
}

func TestWhatIsNotUnderstoodIsRefusedWithItsPlace(t *testing.T) {
	for query, want := range map[string]string{
		"":                                                             `1 the end where SELECT should be`,
		"DELETE * FROM devices":                                        `1 "DELETE" where SELECT should be`,
		"SELECT":                                                       `7 the end where the name of a member should be`,
		"SELECT * FROM":                                                `14 FROM needs the name of a collection, not the end`,
		"SELECT * devices":                                             `10 "devices" where FROM should be`,
		"SELECT deviceId":                                              `16 the end where FROM should be`,
		"SELECT TOP x * FROM devices":                                  `12 TOP needs a whole number of 1 or more`,
		"SELECT TOP 1.5 * FROM devices":                                `12 TOP needs a whole number of 1 or more`,
		"SELECT COUNT(*) AS n FROM devices":                            `15 COUNT takes no argument: write COUNT()`,
		"SELECT UPPER(deviceId) FROM devices":                          `8 "UPPER" is not supported in a projection`,
		"SELECT a, FROM devices":                                       `16 "devices" where FROM should be`,
		"SELECT a AS 1 FROM devices":                                   `13 AS needs a name, not "1"`,
		"SELECT a, COUNT() AS n FROM devices":                          `8 "a" is neither in GROUP BY nor an aggregate`,
		"SELECT * FROM devices GROUP BY a":                             `23 GROUP BY needs a projection in place of *`,
		"SELECT a FROM devices GROUP a":                                `29 "a" where BY should be`,
		"SELECT * FROM devices ORDER BY a":                             `23 ORDER BY: the language has none`,
		"SELECT * FROM devices LIMIT 3":                                `23 LIMIT is not supported`,
		"SELECT * FROM devices WHERE":                                  `28 the end where the name of a member should be`,
		"SELECT * FROM devices WHERE a":                                `30 the end where a comparison, IN or NIN should be`,
		"SELECT * FROM devices WHERE a =":                              `32 the end where the name of a member should be`,
		"SELECT * FROM devices WHERE a = 1 AND ":                       `39 the end where the name of a member should be`,
		"SELECT * FROM devices WHERE a = 1 b":                          `35 "b" after the end of the query`,
		"SELECT * FROM devices WHERE a == 1":                           `32 "=" where the name of a member should be`,
		"SELECT * FROM devices WHERE a LIKE 'x'":                       `31 "LIKE" where a comparison, IN or NIN should be`,
		"SELECT * FROM devices WHERE (a = 1":                           `35 the end where ) should be`,
		"SELECT * FROM devices WHERE a IN 1":                           `34 "1" where a list such as ['a', 'b'] should be`,
		"SELECT * FROM devices WHERE a IN [1 2]":                       `37 "2" where , or ] should be`,
		"SELECT * FROM devices WHERE a IN [b]":                         `35 "b" where a literal should be`,
		"SELECT * FROM devices WHERE a IN [1,":                         `37 the end where a literal should be`,
		"SELECT * FROM devices WHERE lower(a)=1":                       `29 the function "lower" is not supported`,
		"SELECT * FROM devices WHERE is_defined(a":                     `41 the end where ) should be`,
		"SELECT * FROM devices WHERE starts_with(a)":                   `42 ")" where , should be`,
		"SELECT * FROM devices WHERE a[0] = 1":                         `30 elements of arrays, and functions of values, are not supported`,
		"SELECT * FROM devices WHERE 1 = lower(a)":                     `38 elements of arrays, and functions of values, are not supported`,
		"SELECT * FROM devices WHERE a = 'küche":                       `33 a string without its closing quote`,
		"SELECT * FROM devices WHERE ü = % 'x'":                        `33 a character that means nothing here`,
		"SELECT * FROM devices WHERE a = 1x":                           `33 a number that is none`,
		"SELECT * FROM devices WHERE a = 1.2.3":                        `33 a number that is none`,
		"SELECT * FROM devices WHERE a = {}":                           `33 a character that means nothing here`,
		"SELECT * FROM devices WHERE a ! 1":                            `31 a character that means nothing here`,
		"SELECT * FROM devices WHERE " + strings.Repeat("(", 60) + "a": `79 conditions nested more than 50 deep`,
		strings.Repeat(" ", maxQuery+1):                                `65537 a query of more than 65536 bytes`,
	} {
		_, err := Parse(query)
		e, ok := errors.AsType[*Error](err)
		require.True(t, ok, "%s: %v", query, err)
		assert.Equal(t, want, fmt.Sprint(e.Position, " ", e.Problem), query)
		assert.NotContains(t, e.Error(), "\n")
	}
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"*", "SELECT * FROM devices WHERE a.b = 'c' AND NOT (d > 1 OR is_defined(e)) ;",
		"SELECT TOP 3 d.a AS x, COUNT() AS n FROM devices d WHERE d.a IN ['x', 1, true] GROUP BY d.a",
		"SELECT MIN(tags.n), AVG(tags.n) FROM devices.modules WHERE starts_with(deviceId, \"a\")",
		"SELECT a.[[b c]] FROM devices WHERE x = 'it''s\\'' OR null <> y",
		"SELECT [[a\vb]], COUNT() FROM c", "SELECT * FROM c WHERE a\u2028(b)",
		strings.Repeat(" ", maxQuery-2) + "€", // the limit is within a character
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := Parse(query)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			require.True(t, ok)
			require.GreaterOrEqual(t, e.Position, 1)
			require.LessOrEqual(t, e.Position, utf8.RuneCountInString(query)+1)
			require.False(t, strings.ContainsFunc(e.Error(), func(r rune) bool {
				return !unicode.IsPrint(r)
			}), "%q", e.Error())
			return
		}
		rows := q.Rows(twins)
		if q.All() {
			require.LessOrEqual(t, len(rows), len(twins))
		}
		_, err = json.Marshal(rows)
		require.NoError(t, err)
	})
}

package hubtest

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
)

// Of the service's query language the simulated hub knows SELECT * FROM devices, with conditions
// that compare a member with a literal and are joined by AND.
var (
	querySelect = regexp.MustCompile(
		`(?is)^\s*select\s+\*\s+from\s+devices\s*(?:where\s+(.+))?$`,
	)
	queryCondition = regexp.MustCompile(
		`(?is)^\s*((?:devices\.|c\.)?[a-z_$][\w$-]*(?:\.[\w$-]+)*)\s*(=|!=|<>)\s*('[^']*'|"[^"]*"|-?\d+(?:\.\d+)?|true|false)\s*`,
	)
	queryAnd = regexp.MustCompile(`(?is)^and\s`)
)

// parseQuery returns a function that tells whether a twin, as the service writes it, is what a
// query asks for; or what is wrong.
func parseQuery(query string) (matches func(twin map[string]any) bool, problem string) {
	parts := querySelect.FindStringSubmatch(query)
	if parts == nil {
		return nil, "the query is not supported: only SELECT * FROM devices WHERE … AND … is"
	}
	var conditions []func(map[string]any) bool
	for rest := parts[1]; rest != ""; {
		c := queryCondition.FindStringSubmatch(rest)
		if c == nil {
			return nil, "the query's condition is not supported: only comparisons with a " +
				"literal, joined by AND, are"
		}
		path := strings.Split(strings.TrimPrefix(strings.TrimPrefix(c[1], "devices."), "c."), ".")
		want, equal := literal(c[3]), c[2] == "="
		conditions = append(conditions, func(twin map[string]any) bool {
			have, ok := member(twin, path)
			return ok && reflect.DeepEqual(have, want) == equal
		})
		rest = rest[len(c[0]):]
		if rest == "" {
			break
		}
		and := queryAnd.FindString(rest)
		if and == "" || len(rest) == len(and) {
			return nil, "the query's conditions are not joined by AND"
		}
		rest = rest[len(and):]
	}
	return func(twin map[string]any) bool {
		for _, holds := range conditions {
			if !holds(twin) {
				return false
			}
		}
		return true
	}, ""
}

func literal(text string) any {
	if text[0] == '\'' || text[0] == '"' {
		return text[1 : len(text)-1]
	}
	var v any
	// numbers and booleans: the pattern let nothing else in
	_ = json.Unmarshal([]byte(strings.ToLower(text)), &v)
	return v
}

// member finds a member of a twin by its path.
func member(twin map[string]any, path []string) (any, bool) {
	var at any = twin
	for _, name := range path {
		object, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = object[name]; !ok {
			return nil, false
		}
	}
	return at, true
}

package hubtest

import (
	"net/url"
	"regexp"
	"strings"
)

// username is a CONNECT's user name taken apart.
type username struct {
	host  string
	query url.Values // api-version, DeviceClientType, model-id …
}

// parseUsername takes apart "{hub}/{client ID}/?api-version=…", and the older forms without the question mark and without
// anything after the client ID. Neither host nor client ID is escaped, so the client ID is needed to tell where it ends.
func parseUsername(name, clientID string) (username, bool) {
	host, rest, ok := strings.Cut(name, "/")
	if !ok || host == "" || clientID == "" {
		return username{}, false
	}
	rest, ok = strings.CutPrefix(rest, clientID)
	if !ok {
		return username{}, false
	}
	query, ok := strings.CutPrefix(rest, "/")
	if !ok {
		return username{host: host, query: url.Values{}}, rest == ""
	}
	values, err := url.ParseQuery(strings.TrimPrefix(query, "?"))
	if err != nil {
		return username{}, false
	}
	return username{host: host, query: values}, true
}

var apiVersion = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-preview)?$`)

// versionOK reports whether the API version is one; a user name without any is an old client's.
func (u username) versionOK() bool {
	return !u.query.Has("api-version") || apiVersion.MatchString(u.query.Get("api-version"))
}

package dpstest

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// defaultPage is how many items a page of a query holds when the client does not say, and maxPage
// the most.
const (
	defaultPage = 100
	maxPage     = 1000
)

// selectAll is the only query the service answers: everything.
var selectAll = regexp.MustCompile(`(?i)^\s*(\*|select\s+\*(\s+from\s+\w+)?)\s*;?\s*$`)

// query answers a page of a query: the items in the order of their IDs.
func (s *Server) query(c *call, item string, all map[string]any) response {
	var specification struct {
		Query string `json:"query"`
	}
	if len(strings.TrimSpace(string(c.body))) > 0 { // queries of registration records may have none
		if problem := c.decode(&specification); problem != "" {
			return s.refuseService(codeBadRequest, problem)
		}
		if specification.Query != "" && !selectAll.MatchString(specification.Query) {
			return s.refuseService(codeBadRequest, "The query is not supported: only SELECT * is.")
		}
	}
	return s.page(c, item, all)
}

// page answers one page. The continuation token is the ID that the next page begins after, so that
// items that come and go between two pages neither repeat nor hide others.
func (s *Server) page(c *call, item string, all map[string]any) response {
	size, err := strconv.Atoi(c.service.header.Get("x-ms-max-item-count"))
	if err != nil || size < 1 {
		size = defaultPage
	}
	size = min(size, maxPage)
	after, err := base64.RawURLEncoding.DecodeString(c.service.header.Get("x-ms-continuation"))
	if err != nil {
		return s.refuseService(codeBadRequest, "x-ms-continuation is not a continuation token.")
	}
	ids := make([]string, 0, len(all))
	for id := range all {
		if id > string(after) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	header := http.Header{"X-Ms-Item-Type": {item}}
	if len(ids) > size {
		ids = ids[:size]
		header.Set("x-ms-continuation", base64.RawURLEncoding.EncodeToString([]byte(ids[size-1])))
	}
	items := make([]any, len(ids))
	for i, id := range ids {
		items[i] = all[id]
	}
	header.Set("x-ms-max-item-count", strconv.Itoa(size))
	a := succeed(200, items)
	a.header = header
	return a
}

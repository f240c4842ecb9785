// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/rehome-iot/rehome/internal/query"
)

// defaultPage is how many items a page of a query holds when the client does not say, and maxPage
// the most.
const (
	defaultPage = 100
	maxPage     = 1000
)

// collections are the names that queries may call their items by.
var collections = map[string][]string{
	"Enrollment":         {"", "enrollments"},
	"EnrollmentGroup":    {"", "enrollmentgroups"},
	"DeviceRegistration": {"", "registrations", "deviceregistrations", "devices"},
}

// query answers a page of a query: the items in the order of their IDs.
func (s *Server) query(c *call, item string, all map[string]any) response {
	var specification struct {
		Query string `json:"query"`
	}
	if len(strings.TrimSpace(string(c.body))) > 0 { // queries of registration records may have none
		if problem := c.decode(&specification); problem != "" {
			return s.refuseService(codeBadRequest, problem)
		}
		if specification.Query != "" {
			var problem string
			if all, problem = selectItems(specification.Query, item, all); problem != "" {
				return s.refuseService(codeBadRequest, "The query is not supported: "+problem+".")
			}
		}
	}
	return s.page(c, item, all)
}

// selectItems returns the items that a query asks for, or what is wrong with it. The service
// answers with whole items alone.
func selectItems(
	text, item string, all map[string]any,
) (selected map[string]any, problem string) {
	q, err := query.Parse(text)
	switch {
	case err != nil:
		return nil, err.Error()
	case !q.All():
		return nil, "only SELECT * is, of whole items"
	case !slices.Contains(collections[item], q.From):
		return nil, "FROM " + q.From + ": here are " + collections[item][1]
	}
	var ids []string
	var docs []map[string]any
	for _, id := range slices.Sorted(maps.Keys(all)) {
		var doc map[string]any
		written, err := json.Marshal(all[id]) // a query sees what a client sees
		if err == nil && json.Unmarshal(written, &doc) == nil && q.Matches(doc) {
			ids, docs = append(ids, id), append(docs, doc)
		}
	}
	selected = map[string]any{}
	for _, id := range ids[:len(q.Rows(docs))] { // TOP may want fewer
		selected[id] = all[id]
	}
	return selected, ""
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

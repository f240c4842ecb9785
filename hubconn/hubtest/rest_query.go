// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"encoding/json"
	"fmt"

	"github.com/rehome-iot/rehome/internal/query"
)

// queryTwins answers a query with a page of its rows: twins, or objects of what was selected.
func (c *restCall) queryTwins() (restResponse, error) {
	var body struct {
		Query string `json:"query"`
	}
	if err := c.decode(&body); err != nil {
		return restResponse{}, err
	}
	q, err := query.Parse(body.Query)
	if err != nil {
		return restResponse{}, c.refuse(codeArgumentInvalid, "the query: "+err.Error())
	}
	ids, ok := c.hub.collection(q.From)
	if !ok {
		return restResponse{}, c.refuse(codeArgumentInvalid, fmt.Sprintf(
			"the query: FROM %s: only devices and devices.modules are simulated", q.From,
		))
	}
	var matching []string
	var twins []map[string]any
	for _, id := range ids {
		if twin := c.hub.twinJSON(id); twin != nil && q.Matches(twin) {
			matching, twins = append(matching, id), append(twins, twin)
		}
	}
	all := q.Rows(twins)
	rows := make(map[string]map[string]any, len(all))
	ids = make([]string, len(all))
	for i, row := range all {
		if ids[i] = fmt.Sprintf("%09d", i); !q.Aggregates() {
			ids[i] = matching[i] // so that what comes and goes between pages shifts nothing
		}
		rows[ids[i]] = row
	}
	ids, header, err := c.page(ids)
	if err != nil {
		return restResponse{}, err
	}
	out := make([]any, len(ids))
	for i, id := range ids {
		out[i] = rows[id]
	}
	header.Set("x-ms-item-type", "Raw")
	if q.All() {
		header.Set("x-ms-item-type", "Twin")
	}
	return restResponse{body: out, header: header}, nil
}

// collection returns the identities of what a query may ask, sorted.
func (h *Hub) collection(name string) (ids []string, ok bool) {
	switch name {
	case "devices", "": // the parser lets it be left out of SELECT * alone
		return h.Devices(), true
	case "devices.modules":
		for _, device := range h.Devices() {
			for _, module := range h.Modules(device) {
				ids = append(ids, device+"/"+module)
			}
		}
		return ids, true
	}
	return nil, false
}

// twinJSON is a twin as it is written, decoded again: a query sees what a client sees. It is nil
// where there is none.
func (h *Hub) twinJSON(id string) (twin map[string]any) {
	body, _, ok := h.twinBody(id)
	if !ok {
		return nil
	}
	text, err := json.Marshal(body)
	if err != nil || json.Unmarshal(text, &twin) != nil { // decoded from JSON: cannot fail
		return nil
	}
	return twin
}

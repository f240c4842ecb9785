// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxRESTBody is how much of a back end's request is read: a hundred devices with their keys are
// far less.
const maxRESTBody = 1 << 20

// restCall is one request of a back end to the service's REST API.
type restCall struct {
	*http.Request
	hub  *Hub
	path []string // unescaped
	body []byte
}

// restResponse is what it is answered with. The zero status is 200.
type restResponse struct {
	status int
	body   any // marshalled to JSON; nil for none
	header http.Header
}

// restOp carries one operation out. Its errors are *Error.
type restOp func(*restCall) (restResponse, error)

// serveREST answers the requests of back ends, and reports false for all others. Both APIs have
// paths under /devices, but none in common.
func (h *Hub) serveREST(w http.ResponseWriter, r *http.Request) bool {
	parts := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	for i, part := range parts {
		text, err := url.PathUnescape(part)
		if err != nil {
			return false
		}
		parts[i] = text
	}
	switch parts[0] = strings.ToLower(parts[0]); parts[0] {
	case "devices":
		if len(parts) <= 2 || len(parts) <= 4 && strings.EqualFold(parts[2], "modules") {
			break
		}
		if path := r.Method + " " + strings.ToLower(
			strings.Join(parts[2:], "/"),
		); path != "POST messages/devicebound" && path != "DELETE commands" {
			return false
		}
	case "twins", "statistics":
	default:
		return false
	}
	c := &restCall{Request: r, hub: h, path: parts}
	// A body that ends early is the client's matter: what arrived is checked.
	c.body, _ = io.ReadAll(io.LimitReader(r.Body, maxRESTBody+1))
	response, err := c.serve()
	if err != nil {
		refused := asError(err)
		h.recordService(c, refused.Status(), refused.Code)
		h.refuseREST(w, r, refused)
		return true
	}
	h.recordService(c, response.status, 0)
	response.send(w)
	return true
}

func (c *restCall) serve() (restResponse, error) {
	if len(c.body) > maxRESTBody {
		return restResponse{}, c.refuse(codeTooLarge, "the request is too large")
	}
	op, needs := c.route()
	if code, refusal := c.hub.authorizeREST(c.Header.Get("Authorization"), needs); code != 0 {
		return restResponse{}, c.refuse(code, refusal)
	}
	if v := c.URL.Query().Get("api-version"); !apiVersion.MatchString(v) {
		return restResponse{}, c.refuse(codeProtocolVersion, "api-version is missing or not a date")
	}
	if op == nil {
		return restResponse{}, c.refuse(codeNotFound, "no such operation")
	}
	for _, part := range c.path {
		// was escaped: a device's ID must not look like its module's
		if strings.Contains(part, "/") {
			return restResponse{}, c.refuse(codeArgumentInvalid, "an ID has no slash")
		}
	}
	return op(c)
}

// route finds the operation, nil if there is none, and the right it needs.
func (c *restCall) route() (restOp, right) {
	// A path as its fixed words and "*" for each ID.
	shape := make([]string, len(c.path))
	for i, part := range c.path {
		if shape[i] = "*"; i == 0 || i%2 == 0 || i == 1 && c.path[0] == "statistics" {
			shape[i] = strings.ToLower(part)
		}
	}
	key := c.Method + " " + strings.Join(shape, "/")
	if c.Method == http.MethodPost && len(c.path) == 2 && c.path[0] == "devices" &&
		strings.EqualFold(c.path[1], "query") {
		key = "POST devices/query"
	}
	if len(c.path) == 4 && strings.EqualFold(c.path[2], "messages") {
		key = c.Method + " devices/*/messages/" + strings.ToLower(c.path[3])
	}
	route := restRoutes[key]
	return route.op, route.needs
}

type restRoute struct {
	op    restOp
	needs right
}

var restRoutes map[string]restRoute

func init() {
	restRoutes = map[string]restRoute{
		"GET devices":                {(*restCall).listDevices, registryRead},
		"POST devices":               {(*restCall).bulkDevices, registryWrite},
		"POST devices/query":         {(*restCall).queryTwins, registryRead},
		"GET devices/*":              {(*restCall).getIdentity, registryRead},
		"PUT devices/*":              {(*restCall).putIdentity, registryWrite},
		"DELETE devices/*":           {(*restCall).deleteIdentity, registryWrite},
		"GET devices/*/modules":      {(*restCall).listModules, registryRead},
		"GET devices/*/modules/*":    {(*restCall).getIdentity, registryRead},
		"PUT devices/*/modules/*":    {(*restCall).putIdentity, registryWrite},
		"DELETE devices/*/modules/*": {(*restCall).deleteIdentity, registryWrite},

		"GET statistics/devices": {(*restCall).countDevices, registryRead},
		"GET statistics/service": {(*restCall).countConnected, serviceConnect},

		"GET twins/*":             {(*restCall).getTwin, serviceConnect},
		"PATCH twins/*":           {(*restCall).patchTwin, serviceConnect},
		"PUT twins/*":             {(*restCall).putTwin, serviceConnect},
		"GET twins/*/modules/*":   {(*restCall).getTwin, serviceConnect},
		"PATCH twins/*/modules/*": {(*restCall).patchTwin, serviceConnect},
		"PUT twins/*/modules/*":   {(*restCall).putTwin, serviceConnect},

		"POST twins/*/methods":                {(*restCall).invokeMethod, serviceConnect},
		"POST twins/*/modules/*/methods":      {(*restCall).invokeMethod, serviceConnect},
		"POST devices/*/messages/devicebound": {(*restCall).sendCommand, serviceConnect},
		"DELETE devices/*/commands":           {(*restCall).purgeCommands, serviceConnect},
	}
}

// id returns the identity a path names: "device" or "device/module".
func (c *restCall) id() string {
	if len(c.path) >= 4 && strings.EqualFold(c.path[2], "modules") {
		return c.path[1] + "/" + c.path[3]
	}
	if len(c.path) > 1 {
		return c.path[1]
	}
	return ""
}

func (c *restCall) refuse(code int, message string) error {
	return &Error{Op: strings.ToLower(c.Method), ID: c.id(), Code: code, Message: message}
}

// decode reads the request's body.
func (c *restCall) decode(v any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return c.refuse(codeBadRequest, "the request has no body")
	}
	if decodeOne(c.body, v) != nil {
		return c.refuse(
			codeFormat, "the request body is not valid JSON of the kind that is expected",
		)
	}
	return nil
}

// ifMatch returns the ETag of the request's precondition without quotes; "" if there is none.
func (c *restCall) ifMatch() string { return strings.Trim(c.Header.Get("If-Match"), `"`) }

func (a restResponse) send(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.Header().Set("x-ms-request-id", trackingID())
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	body, err := json.Marshal(a.body)
	if err != nil { // a twin is what was decoded from JSON
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // a client that is gone does not want it
}

// asError is an error of a [restOp], or what stands for another one: the request's own end, mostly.
func asError(err error) *Error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Code: codeUnavailable, Message: err.Error()}
	}
	return e
}

// refuseREST answers with an error. Those of methods tell their code as a number, those of the
// registry as a name: so the service was seen to do.
func (h *Hub) refuseREST(w http.ResponseWriter, r *http.Request, e *Error) {
	f := Fault{Status: e.Status(), ErrorCode: e.Name(), Message: e.Message}
	if strings.HasSuffix(strings.ToLower(r.URL.Path), "/methods") {
		f.Code = e.Code
	}
	h.refuse(w, f)
}

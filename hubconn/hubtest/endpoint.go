// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"net/http"
	"net/url"
	"strings"
)

// action is what an HTTPS request of a device asks for.
type action int

const (
	sendEvent action = iota + 1
	receiveCommand
	completeCommand
	rejectCommand
	abandonCommand
	startUpload
	notifyUpload
)

// stage is the one whose faults and rates the action meets.
func (a action) stage() Stage {
	switch a {
	case sendEvent:
		return Send
	case receiveCommand:
		return Receive
	case completeCommand, rejectCommand, abandonCommand:
		return Settle
	case startUpload:
		return UploadStart
	default:
		return UploadNotify
	}
}

// endpoint is the target of a device's HTTPS request parsed.
type endpoint struct {
	action action
	id     string // "device", or "device/module"
	token  string // of a message's lock, or of an upload
}

// parseEndpoint parses method, escaped path and query of a request. Fixed parts of a path have no
// case, and a slash may end it, as some SDKs put one before the query. The code is 0, 404000 or
// 405000. Azure REST API: IoT Hub, Device.
func parseEndpoint(method, path string, query url.Values) (e endpoint, code int) {
	parts, ok := splitPath(strings.TrimSuffix(path, "/"))
	if !ok || len(parts) < 3 || !strings.EqualFold(parts[0], "devices") || parts[1] == "" ||
		strings.Contains(parts[1], "/") {
		return endpoint{}, codeNotFound
	}
	e.id, parts = parts[1], parts[2:]
	if len(parts) > 2 && strings.EqualFold(parts[0], "modules") {
		if parts[1] == "" || strings.Contains(parts[1], "/") {
			return endpoint{}, codeNotFound
		}
		e.id += "/" + parts[1]
		parts = parts[2:]
	}
	is := func(pattern ...string) bool {
		if len(pattern) != len(parts) {
			return false
		}
		for i, want := range pattern {
			if want == "*" {
				e.token = strings.Trim(parts[i], `"`)
			} else if !strings.EqualFold(want, parts[i]) {
				return false
			}
		}
		return true
	}
	_, module := splitID(e.id)
	want := http.MethodPost
	switch {
	case is("messages", "events"):
		e.action = sendEvent
	case module != "": // the rest is for devices alone
		return endpoint{}, codeNotFound
	case is("messages", "deviceBound"):
		e.action, want = receiveCommand, http.MethodGet
	case is("messages", "deviceBound", "*"):
		e.action, want = completeCommand, http.MethodDelete
		if query.Has("reject") {
			e.action = rejectCommand
		}
	case is("messages", "deviceBound", "*", "abandon"):
		e.action = abandonCommand
	case is("files"):
		e.action = startUpload
	case is("files", "notifications"), is("files", "notifications", "*"):
		e.action = notifyUpload
	default:
		return endpoint{}, codeNotFound
	}
	if method != want {
		return endpoint{}, codeMethodNotAllowed
	}
	return e, 0
}

// splitPath splits a path at its slashes, and only then unescapes the parts.
func splitPath(path string) (parts []string, ok bool) {
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		plain, err := url.PathUnescape(part)
		if err != nil {
			return nil, false
		}
		parts = append(parts, plain)
	}
	return parts, true
}

// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// twinChange is a twin as a back end writes it. A member that is absent is nil.
type twinChange struct {
	Tags       map[string]any `json:"tags"`
	Properties *struct {
		Desired map[string]any `json:"desired"`
	} `json:"properties"`
}

// change reads the request. Members that only the service sets, $version and $metadata, are left
// out.
func (c *restCall) change() (TwinChange, error) {
	var body twinChange
	if err := c.decode(&body); err != nil {
		return TwinChange{}, err
	}
	out := TwinChange{Tags: body.Tags}
	if body.Properties != nil {
		out.Desired = body.Properties.Desired
	}
	for _, part := range []map[string]any{out.Tags, out.Desired} {
		delete(part, "$version")
		delete(part, "$metadata")
	}
	return out, nil
}

func (c *restCall) getTwin() (restResponse, error) {
	body, etag, ok := c.hub.twinBody(c.id())
	if !ok {
		return restResponse{}, c.unknown()
	}
	return restResponse{body: body, header: http.Header{"Etag": {strconv.Quote(etag)}}}, nil
}

func (c *restCall) patchTwin() (restResponse, error) {
	change, err := c.change()
	if err != nil {
		return restResponse{}, err
	}
	if _, err := c.hub.PatchTwin(c.id(), change, c.ifMatch()); err != nil {
		return restResponse{}, err
	}
	return c.getTwin()
}

// putTwin replaces tags and desired properties: those that are absent are emptied.
func (c *restCall) putTwin() (restResponse, error) {
	change, err := c.change()
	if err != nil {
		return restResponse{}, err
	}
	change.Tags, change.Desired = orEmpty(change.Tags), orEmpty(change.Desired)
	if _, err := c.hub.ReplaceTwin(c.id(), change, c.ifMatch()); err != nil {
		return restResponse{}, err
	}
	return c.getTwin()
}

// twinBody is a twin as the service writes it.
func (h *Hub) twinBody(id string) (body map[string]any, etag string, ok bool) {
	now := h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.devices[id]
	if !ok {
		return nil, "", false
	}
	h.sweep(r, now)
	about, twin := h.describe(id, r), r.twin.copy()
	body = map[string]any{
		"deviceId":                  about.DeviceID,
		"etag":                      twin.ETag,
		"deviceEtag":                about.ETag,
		"version":                   twin.DesiredVersion + twin.ReportedVersion,
		"connectionState":           about.ConnectionState,
		"lastActivityTime":          about.LastActivityTime,
		"cloudToDeviceMessageCount": about.CloudToDeviceMessageCount,
		"authenticationType":        about.Authentication.Type,
		"x509Thumbprint":            about.Authentication.X509Thumbprint,
		"modelId":                   "",
		"properties": map[string]any{
			"desired":  propertiesBody(twin.Desired, twin.DesiredVersion, now),
			"reported": propertiesBody(twin.Reported, twin.ReportedVersion, now),
		},
	}
	if about.ModuleID != "" {
		body["moduleId"] = about.ModuleID
	} else {
		body["status"], body["statusUpdateTime"], body["statusReason"] = about.Status,
			about.StatusUpdatedTime, about.StatusReason
		body["capabilities"] = about.Capabilities
	}
	body["tags"] = twin.Tags
	return body, twin.ETag, true
}

// propertiesBody adds what the service tells about properties. The hub does not keep when each was
// changed: its metadata has no more than the member that clients expect to find.
func propertiesBody(properties map[string]any, version int64, now time.Time) map[string]any {
	out := maps.Clone(properties)
	if out == nil {
		out = map[string]any{}
	}
	out["$version"] = version
	out["$metadata"] = map[string]any{
		"$lastUpdated": now.UTC().Format("2006-01-02T15:04:05.0000000Z"),
	}
	return out
}

// sendCommand puts a cloud-to-device message into a device's queue. The headers are those a device
// gets it with.
func (c *restCall) sendCommand() (restResponse, error) {
	m := C2D{
		Body: c.body, MessageID: c.Header.Get("iothub-messageid"),
		CorrelationID: c.Header.Get("iothub-correlationid"), UserID: c.Header.Get("iothub-userid"),
		To: c.Header.Get("iothub-to"), Ack: strings.ToLower(c.Header.Get("iothub-ack")),
		ContentType:     c.Header.Get("iothub-contenttype"),
		ContentEncoding: c.Header.Get("iothub-contentencoding"), Properties: map[string]string{},
	}
	if expiry := c.Header.Get("iothub-expiry"); expiry != "" {
		t, err := http.ParseTime(expiry)
		if err != nil {
			if t, err = time.Parse(time.RFC3339, expiry); err != nil {
				return restResponse{}, c.refuse(codeBadExpiry, "iothub-expiry is no time")
			}
		}
		m.Expiry = t
	}
	for name, values := range simnet.SentHeader(c.Request) {
		if strings.HasPrefix(strings.ToLower(name), appPrefix) {
			m.Properties[name[len(appPrefix):]] = values[0]
		}
	}
	if err := c.hub.SendC2D(c.path[1], m); err != nil {
		return restResponse{}, err
	}
	return restResponse{status: http.StatusNoContent}, nil
}

func (c *restCall) purgeCommands() (restResponse, error) {
	if _, ok := c.hub.Get(c.path[1]); !ok {
		return restResponse{}, c.unknown()
	}
	n := c.hub.PurgeC2D(c.path[1])
	return restResponse{
		body: map[string]any{"deviceId": c.path[1], "moduleId": nil, "totalMessagesPurged": n},
	}, nil
}

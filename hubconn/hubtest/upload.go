// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// maxUploads is how many uploads of a device may be under way.
	maxUploads = 10
	// defaultUploadTTL is how long a place to upload to is good for.
	defaultUploadTTL = time.Hour
	// maxUploadLog is how many uploads are remembered, and maxDescription how much of the text
	// that a device ends one with.
	maxUploadLog   = 10_000
	maxDescription = 4 << 10
	// container is the one that all uploads go to.
	container = "uploads"
)

// Upload is a file upload of a device, from its beginning on.
type Upload struct {
	// DeviceID is the device that uploads.
	DeviceID string
	// BlobName is the name of the blob in the container: the device ID, a slash, and the name the
	// device gave. It is what [Hub.Blob] takes.
	BlobName string
	// CorrelationID is what the hub gave the device, to name the upload by at its end.
	CorrelationID string
	// Started is when the device asked for a place to upload to, by the services' clock.
	Started time.Time
	// Ended is when the device reported the upload's end, by the services' clock. Zero: not yet.
	Ended time.Time
	// Success is whether the device reported that the upload went well.
	Success bool
	// StatusCode is the number the device reported: the HTTP status of its storage client.
	StatusCode int
	// StatusDescription is the text the device reported, 4 KB of it at most.
	StatusDescription string

	until time.Time // when its place is no longer good
}

// SetUploadTTL sets how long the places to upload to are good for that the hub gives from now on:
// storage refuses the token of one that is over, with 403, and the hub a report of the upload's
// end, with 400016. The default is an hour.
func (h *Hub) SetUploadTTL(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uploadTTL = d
}

// Uploads returns the log of uploads, in the order of their beginnings. It holds the newest 9,000
// at least.
func (h *Hub) Uploads() []Upload {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Upload, len(h.uploads))
	for i, u := range h.uploads {
		out[i] = *u
	}
	return out
}

// beginUpload gives a device a place to upload to: the name of a blob, and a token for it.
func (h *Hub) beginUpload(id string, body []byte) webReply {
	var request struct {
		BlobName string `json:"blobName"`
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return webRefusal(codeFormat, "body is not the JSON of an upload")
	}
	if !isBlobName(request.BlobName) {
		return webRefusal(codeArgumentInvalid, "blobName is no name of a blob")
	}
	now := h.network.Now()
	u := &Upload{
		DeviceID: id, BlobName: id + "/" + request.BlobName, Started: now,
		CorrelationID: correlationID(now, id),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	u.until = now.Add(h.uploadTTL)
	active := 0
	for _, other := range h.uploads {
		if other.DeviceID == id && other.active(now) {
			active++
		}
	}
	if active >= maxUploads {
		return webRefusal(codeUploadsFull, "Number of active file upload requests cannot exceed 10")
	}
	if len(h.uploads) >= maxUploadLog {
		h.uploads = slices.Delete(h.uploads, 0, maxUploadLog/10)
	}
	h.uploads = append(h.uploads, u)
	h.recordUpload(u)
	response, _ := json.Marshal(map[string]string{ // strings: cannot fail
		"correlationId": u.CorrelationID, "hostName": h.store.host, "containerName": container,
		"blobName": u.BlobName, "sasToken": h.store.token(u.BlobName, u.until),
	})
	return webReply{reply: reply{status: http.StatusOK, body: response}, header: http.Header{
		"Content-Type": {"application/json; charset=utf-8"},
	}}
}

func (u *Upload) active(now time.Time) bool {
	return u.Ended.IsZero() && now.Before(u.until)
}

// endUpload takes a device's report of how an upload went. Older clients have the correlation ID in
// the path.
func (h *Hub) endUpload(e endpoint, body []byte) webReply {
	var report struct {
		CorrelationID     string `json:"correlationId"`
		IsSuccess         *bool  `json:"isSuccess"`
		StatusCode        int    `json:"statusCode"`
		StatusDescription string `json:"statusDescription"`
	}
	if err := json.Unmarshal(body, &report); err != nil || report.IsSuccess == nil {
		return webRefusal(codeFormat, "body is not the JSON of an upload's end")
	}
	if e.token != "" {
		report.CorrelationID = e.token
	}
	now := h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	at := slices.IndexFunc(h.uploads, func(u *Upload) bool {
		return u.DeviceID == e.id && u.CorrelationID == report.CorrelationID && u.Ended.IsZero()
	})
	switch {
	case at < 0:
		return webRefusal(codeUploadUnknown, "no such upload, or ended already")
	case !h.uploads[at].active(now):
		return webRefusal(codeUploadExpired, "upload has expired")
	}
	u := h.uploads[at]
	u.Ended, u.Success, u.StatusCode = now, *report.IsSuccess, report.StatusCode
	text := report.StatusDescription
	u.StatusDescription = strings.Clone(text[:min(len(text), maxDescription)])
	h.recordUpload(u)
	return webReply{reply: reply{status: http.StatusNoContent}}
}

// isBlobName checks a name against the rules of blob storage. Azure docs: "Naming and referencing
// containers, blobs, and metadata".
func isBlobName(name string) bool {
	return name != "" && len(name) <= 1024-128-1 && !strings.HasSuffix(name, ".") &&
		!strings.HasSuffix(name, "/") && strings.Count(name, "/") < 254 &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// correlationID is opaque to devices. Like the service's it has characters that a path must escape.
func correlationID(now time.Time, id string) string {
	return base64.StdEncoding.EncodeToString(
		[]byte(now.UTC().Format("200601021504_")+trackingID()[:8]),
	) + "_" + url.QueryEscape(id) + "/="
}

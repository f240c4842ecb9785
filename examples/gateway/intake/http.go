// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/rehome-iot/rehome/hubconn"
)

// Pattern is where HTTP serves.
const Pattern = "POST /v1/devices/{id}/messages"

// The headers of a message, besides Content-Type. Properties are in the query, since names of
// headers have no letter case, and those of properties do.
const (
	headerMessageID     = "Message-Id"
	headerCorrelationID = "Correlation-Id"
	headerCreationTime  = "Creation-Time"
	headerComponent     = "Component"
	headerPriority      = "Priority"

	priorityAlarm = "alarm"
)

const (
	// bodiesOfAll is how many bytes of messages all requests have in memory at most, and
	// longestTurn how long one waits for its turn.
	bodiesOfAll = 64 << 20
	longestTurn = 5 * time.Second
)

// HTTP takes one message a request. README.md has its headers and responses.
type HTTP struct {
	keeper  Keeper
	counted func(error)
	room    *semaphore.Weighted
}

// NewHTTP returns the handler of Pattern. It calls counted with the outcome of each message.
func NewHTTP(keeper Keeper, counted func(error)) *HTTP {
	return &HTTP{keeper, counted, semaphore.NewWeighted(bodiesOfAll)}
}

func (h *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h.take(w, r)
	h.counted(err)
	if err == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok { // the client has gone
		refusal = refused(http.StatusServiceUnavailable, "the request has ended: %v", err)
	}
	Refuse(w, refusal)
}

// take reads and keeps the message of a request, once there is room for it.
func (h *HTTP) take(w http.ResponseWriter, r *http.Request) error {
	size := int64(perMessage + hubconn.MaxMessageSize)
	if r.ContentLength >= 0 {
		size = min(size, perMessage+r.ContentLength)
	}
	turn, cancel := context.WithTimeout(r.Context(), longestTurn)
	defer cancel()
	if h.room.Acquire(turn, size) != nil {
		refusal := refused(http.StatusServiceUnavailable, "too many messages come at once")
		refusal.RetryAfter = time.Second
		return refusal
	}
	defer h.room.Release(size)
	m, lane, err := readMessage(w, r)
	if err != nil {
		return err
	}
	return h.keeper.Keep(r.Context(), r.PathValue("id"), lane, m)
}

// Refuse writes a refusal as JSON.
func Refuse(w http.ResponseWriter, r *Refusal) {
	w.Header().Set("Content-Type", "application/json")
	if r.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(r.RetryAfter.Seconds()))))
	}
	w.WriteHeader(r.Status)
	_ = json.NewEncoder(w).Encode(struct {
		Error string `json:"error"`
	}{r.Text})
}

// readMessage makes a message of a request. The error is a *Refusal.
func readMessage(
	w http.ResponseWriter, r *http.Request,
) (m hubconn.Message, lane Lane, err error) {
	lane = Telemetry
	switch priority := r.Header.Get(headerPriority); priority {
	case "":
	case priorityAlarm:
		lane = Alarms
	default:
		return m, lane, refused(http.StatusBadRequest, "header %s: use %q, or leave it out",
			headerPriority, priorityAlarm)
	}
	m.MessageID = r.Header.Get(headerMessageID)
	m.CorrelationID = r.Header.Get(headerCorrelationID)
	m.Component = r.Header.Get(headerComponent)
	if text := r.Header.Get(headerCreationTime); text != "" {
		if m.CreationTime, err = time.Parse(time.RFC3339, text); err != nil {
			return m, lane, refused(http.StatusBadRequest,
				"header %s: write it as 2026-01-31T12:00:00Z", headerCreationTime)
		}
	}
	if err := readContentType(r.Header.Get("Content-Type"), &m); err != nil {
		return m, lane, err
	}
	if r.Header.Get("Content-Encoding") != "" {
		return m, lane, refused(http.StatusUnsupportedMediaType,
			"header Content-Encoding: IoT Hub takes none; say what the body is by Content-Type")
	}
	if err := readProperties(r, &m); err != nil {
		return m, lane, err
	}
	m.Body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, hubconn.MaxMessageSize))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return m, lane, refused(http.StatusRequestEntityTooLarge,
			"the message is larger than the %d bytes that IoT Hub takes", hubconn.MaxMessageSize)
	}
	if err != nil {
		return m, lane, refused(http.StatusBadRequest, "the body ends before its length")
	}
	return m, lane, nil
}

// readContentType takes the media type and its character set apart, which IoT Hub has in two
// properties. JSON is in UTF-8 (RFC 8259 §8.1). What curl says of a body that nobody has described
// is nothing.
func readContentType(text string, m *hubconn.Message) error {
	if text == "" {
		return nil
	}
	media, parameters, err := mime.ParseMediaType(text)
	if err != nil {
		return refused(http.StatusBadRequest,
			"header Content-Type: write it as application/json; charset=utf-8")
	}
	if media == "application/x-www-form-urlencoded" {
		return nil
	}
	m.ContentType = media
	m.ContentEncoding = strings.ToLower(parameters["charset"])
	if m.ContentEncoding == "" && media == "application/json" {
		m.ContentEncoding = "utf-8"
	}
	return nil
}

// readProperties takes those of the application.
func readProperties(r *http.Request, m *hubconn.Message) error {
	query, err := url.ParseQuery(r.URL.RawQuery) // where Query leaves out what it cannot read
	if err != nil {
		return refused(http.StatusBadRequest, "the query is not written so: use name=value&"+
			"name=value, percent-encoded")
	}
	if len(query) > 0 {
		m.Properties = make(map[string]string, len(query))
	}
	for name, values := range query {
		if len(values) > 1 {
			return refusedTwice(name)
		}
		m.Properties[name] = values[0]
	}
	return nil
}

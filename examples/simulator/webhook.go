// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/retry"
)

// What a webhook is that says nothing else.
const (
	defaultBatch  = 100
	maxBatch      = 1000
	maxBatchBytes = 1 << 20 // of bodies; a message alone may have more
	defaultEvery  = 500 * time.Millisecond
	webhookLimit  = 30 * time.Second // for one request
)

// webhookRetry spaces the requests while the back end is away.
var webhookRetry = retry.Policy{MinDelay: 500 * time.Millisecond, MaxDelay: 30 * time.Second}

// webhookConfig says where telemetry is sent to.
type webhookConfig struct {
	URL     string            `json:"url"`     // "": telemetry is sent nowhere
	Headers map[string]string `json:"headers"` // of each request
	// at most in one request; 0: defaultBatch
	MaxMessages int `json:"maxMessages"`
	// how long messages are waited for, to be one request; 0: defaultEvery
	Every simnet.Duration `json:"every"`
}

func (c *webhookConfig) check() error {
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			// what is wrong with it is not repeated: it may hold a key
			return errors.New("url: is not one as in http://127.0.0.1:8000/telemetry")
		}
	}
	if c.MaxMessages < 0 || c.MaxMessages > maxBatch {
		return fmt.Errorf(
			"maxMessages: %d is not 1 to %d; 0 means %d", c.MaxMessages, maxBatch, defaultBatch,
		)
	}
	if c.Every < 0 {
		return fmt.Errorf("every: %v is negative: 0s means %v", c.Every, defaultEvery)
	}
	return nil
}

// webhook sends telemetry to a back end, in the order of its arrival, as POST requests with a JSON
// array of events. A batch that fails is sent again, and those behind it wait. The log of events is
// the queue: what it drops meanwhile is lost, and the back end is told by an event of kind gap.
type webhook struct {
	config webhookConfig
	client *http.Client
	events eventLog
	log    *slog.Logger
	where  string // the URL without what may be secret

	failing bool
}

func newWebhook(
	c webhookConfig, client *http.Client, events eventLog, log *slog.Logger,
) *webhook {
	if c.MaxMessages == 0 {
		c.MaxMessages = defaultBatch
	}
	if c.Every == 0 {
		c.Every = simnet.Duration(defaultEvery)
	}
	w := &webhook{config: c, client: client, events: events, log: log}
	if u, err := url.Parse(c.URL); err == nil {
		w.where = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	}
	return w
}

// route sends the telemetry of all hubs to the webhook of the configuration, if there is one.
func (s *simulator) route(ctx context.Context) {
	if s.config.Webhook.URL == "" {
		return
	}
	w := newWebhook(s.config.Webhook, webhookClient(), s.events, s.log)
	s.tasks.Go(func() {
		defer w.client.CloseIdleConnections()
		w.run(ctx)
	})
}

// webhookClient follows no redirect: that would take the headers, and the telemetry, elsewhere.
func webhookClient() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// run sends until ctx ends. What has not been sent by then is lost.
func (w *webhook) run(ctx context.Context) {
	after := uint64(0)
	for {
		changed := w.events.Changed()
		var batch []*simnet.Event
		batch, after = w.collect(after)
		if len(batch) > 0 {
			if !w.deliver(ctx, batch) {
				return
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		if !sleep(ctx, time.Duration(w.config.Every)) {
			return
		}
	}
}

// collect returns the telemetry after a position, as much as one request has, and the position to
// go on from.
func (w *webhook) collect(after uint64) (batch []*simnet.Event, next uint64) {
	size := 0
	for {
		events, missed := w.events.Read(after, maxPage)
		if missed > 0 {
			after += missed
			w.log.Warn("webhook has missed events, telemetry among them", "events", missed)
			batch = append(batch, &simnet.Event{
				Position: after, Time: time.Now().UTC(), Kind: simnet.EventGap, Missed: missed,
			})
		}
		if len(events) == 0 {
			return batch, after
		}
		for _, e := range events {
			if e.Kind == simnet.EventTelemetry {
				size += len(e.Message.Body)
				if len(batch) >= w.config.MaxMessages || len(batch) > 0 && size > maxBatchBytes {
					return batch, after
				}
				batch = append(batch, e)
			}
			after = e.Position
		}
	}
}

// deliver sends a batch until the back end takes it, or says that it never will. It reports false
// when ctx ended.
func (w *webhook) deliver(ctx context.Context, batch []*simnet.Event) bool {
	body, err := json.Marshal(batch)
	if err != nil {
		w.log.Warn("webhook cannot be sent a batch", "error", err)
		return true
	}
	attempts := webhookRetry.Start()
	for {
		err := w.post(ctx, body)
		if ctx.Err() != nil {
			return false
		}
		refused, _ := errors.AsType[*webhookError](err)
		switch {
		case err == nil:
			if w.failing {
				w.failing = false
				w.log.Info("webhook takes telemetry again", "url", w.where)
			}
			return true
		case !w.failing: // once an outage
			w.failing = true
			w.log.Warn("webhook takes no telemetry", "url", w.where, "error", err)
		}
		if refused != nil && refused.forGood() {
			return true
		}
		delay, _ := attempts.Next(err)
		if !sleep(ctx, delay) {
			return false
		}
	}
}

// post makes one request.
func (w *webhook) post(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, webhookLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.config.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	for name, value := range w.config.Headers {
		r.Header.Set(name, value)
	}
	response, err := w.client.Do(r)
	if e, ok := errors.AsType[*url.Error](err); ok {
		return brief(e.Err) // without the address, which may hold a key
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // to use the connection again
	if response.StatusCode/100 == 2 {
		return nil
	}
	date, _ := http.ParseTime(response.Header.Get("Date"))
	after, _ := retry.ParseRetryAfter(response.Header.Get("Retry-After"), date)
	return &webhookError{status: response.StatusCode, after: after}
}

// brief is an error of which no more is told than a log has room for: it may quote the whole header
// of an answer.
func brief(err error) error {
	const most = 300
	text := err.Error()
	if len(text) <= most {
		return err
	}
	return errors.New(strings.ToValidUTF8(text[:most], "") + "…")
}

// webhookError is an answer that takes nothing.
type webhookError struct {
	status int
	after  time.Duration
}

func (e *webhookError) Error() string             { return fmt.Sprintf("status %d", e.status) }
func (e *webhookError) RetryAfter() time.Duration { return e.after }

// forGood reports whether the batch itself is what the back end does not want. All else, a wrong
// key or address too, can be mended while the batch waits.
func (e *webhookError) forGood() bool {
	switch e.status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/oneline"
)

// name is whose a line of the log is.
type name struct{ device, module string }

// in puts the device's name on every line of a logger.
func (n name) in(l *slog.Logger) *slog.Logger { return l.With(slog.String("device", n.device)) }

// kind is what the identity is called in a message.
func (n name) kind() string {
	if n.module != "" {
		return "module"
	}
	return "device"
}

func (c *core) line(level slog.Level, message string, attrs ...slog.Attr) {
	c.log.LogAttrs(context.Background(), level, message, attrs...)
}

// mostNews bounds what is remembered of what the log has said.
const mostNews = 16

// isNews says that the log has not said this since the last stable connection.
func (c *core) isNews(what string) bool {
	if _, told := c.news[what]; told {
		return false
	}
	if c.news == nil || len(c.news) >= mostNews {
		c.news = make(map[string]struct{})
	}
	c.news[what] = struct{}{}
	return true
}

// stateMessage is the message of a change of state.
func (c *core) stateMessage(s, before *Status) string {
	if s.State == StateConnected && (before.State != s.State || before.Hub != s.Hub) {
		return "connected to " + s.Hub.Host + " (from " + string(s.Source) + ")"
	}
	return c.name.kind() + " " + string(s.State)
}

// stateAttrs are the keys of a line about the state.
func (c *core) stateAttrs(s *Status) []slog.Attr {
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("state", string(s.State)))
	if s.Hub.Host != "" {
		attrs = append(
			attrs, slog.String("hub", s.Hub.Host), slog.String("source", string(s.Source)),
		)
	}
	text, err := c.cause(s)
	switch foreign := c.foreign(); {
	case err != nil:
		attrs = append(attrs, failureAttrs(err)...)
	case foreign != "":
		attrs = append(attrs, foreignAttrs(text, foreign)...)
	case text != "":
		attrs = append(attrs, slog.String("cause", text))
	}
	if at, ok := c.state.Wake(); ok && s.State == StateWaiting {
		attrs = append(attrs, seconds("wait", time.Until(at)))
	}
	if s.State == StateConnected && c.outage.attempts > 0 {
		attrs = append(attrs, c.outage.attrs()...)
	}
	return attrs
}

// foreignAttrs are the keys of a hub that speaks another protocol, whose text names the hub and the
// device, and of what else there is to say.
func foreignAttrs(text, foreign string) []slog.Attr {
	cause := joined(text, "the hub that DPS names does not speak MQTT 3.1.1")
	return []slog.Attr{slog.String("cause", cause), slog.String("detail", foreign)}
}

// servedMessage is what a line says about a request over HTTPS that the hub has served.
func (l *loop) servedMessage() string {
	if l.attempt == StateSending {
		return "message acknowledged"
	}
	return "request served"
}

// servedAttrs are the keys of a line about a request over HTTPS that the hub has served.
func (l *loop) servedAttrs() []slog.Attr {
	hub := l.state.Hub.Tried.Target
	attrs := []slog.Attr{slog.String("hub", hub.Hub), slog.String("device_id", hub.DeviceID)}
	if l.outage.attempts > 0 {
		attrs = append(attrs, l.outage.attrs()...)
	}
	return attrs
}

// joined are two texts as one.
func joined(a, b string) string { return strings.Trim(a+"; "+b, "; ") }

// seconds is a duration as a number: tenths of a second are enough.
func seconds(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, math.Round(max(d, 0).Seconds()*10)/10)
}

// logs is an error of DPS or of a hub, which says itself what its keys are.
type logs interface {
	error
	slog.LogValuer
}

// failureAttrs are the keys of a failure: its cause, in words that are the same for all failures of
// one kind, and what differs.
func failureAttrs(err error) []slog.Attr {
	attrs := []slog.Attr{slog.String("cause", causeOf(err))}
	if e, ok := errors.AsType[logs](err); ok {
		for _, a := range e.LogValue().Group() {
			if a.Key != "cause" {
				attrs = append(attrs, a)
			}
		}
	} else if text := oneline.Of(err.Error(), causeMax); text != attrs[0].Value.String() {
		attrs = append(attrs, slog.String("detail", text))
	}
	return attrs
}

// causeOf is why an error came about, without what differs from one time to the next.
func causeOf(err error) string {
	if all, ok := errors.AsType[*refusedError](err); ok {
		texts := make([]string, len(all.errs))
		for i, err := range all.errs {
			texts[i] = causeOf(err)
		}
		return strings.Join(texts, "; ")
	}
	if one, ok := errors.AsType[*credentialError](err); ok {
		return string(one.kind) + ": " + causeOf(one.err)
	}
	if both, ok := errors.AsType[*unreachedError](err); ok {
		first, second := causeOf(both.errs[0]), causeOf(both.errs[1])
		return first + "; over " + both.other.String() + ": " + second
	}
	if e, ok := errors.AsType[logs](err); ok {
		for _, a := range e.LogValue().Group() {
			if a.Key == "cause" {
				return a.Value.String()
			}
		}
	}
	return oneline.Cause(err)
}

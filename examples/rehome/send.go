// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/examples/internal/stored"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
)

func (p *program) sendOptions() []settings.Option {
	return append([]settings.Option{
		{Name: "body", Value: "TEXT", FlagOnly: true, Assign: settings.Text(&p.body),
			Usage: "body of the message (default: each line of standard input is a message)"},
		{Name: "property", Value: "NAME=VALUE", Many: true, FlagOnly: true,
			Assign: p.assignProperty,
			Usage:  "application property of each message (repeatable; default none)"},
		{Name: "content-type", Value: "TYPE", FlagOnly: true,
			Assign: settings.Text(&p.contentType),
			Usage:  "media type of the bodies (default application/json for those that are)"},
		{Name: "over", Value: "mqtt|https", FlagOnly: true,
			Assign: settings.OneOf(
				&p.over, "is not a protocol to send over: use mqtt or https", "mqtt", "https",
			),
			Usage: "send over a connection, or each message as one HTTPS request, which leaves " +
				"the connection of a running program alone (default mqtt)"},
	}, p.timeoutOption()...)
}

func (p *program) assignProperty(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return errors.New("is not a property: write it as NAME=VALUE")
	}
	p.properties[name] = value
	return nil
}

// sender sends messages one after the other, over as many connections as that takes.
type sender struct {
	*program
	lines  <-chan []byte
	failed *error // why reading ended; read it when lines is closed

	pending *hubconn.Message // read, and not acknowledged yet
	sent    int
	hub     string
	id      string

	limit *time.Timer // runs while something is to be done
}

// send sends one message, or one for each line of standard input as it comes.
func send(ctx context.Context, p *program) error {
	dev, err := p.device()
	if err != nil {
		return err
	}
	module := p.NewModule(dev)
	if module != nil && p.over == "https" {
		return settings.UsageError{Err: errors.New("-over https is for the device: leave out " +
			"-module, or use mqtt")}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &sender{program: p, id: rand.Text()[:12]}
	s.lines, s.failed = p.bodies(ctx)
	s.limit = time.AfterFunc(p.timeout, func() { cancel(errTimeout) })
	defer s.limit.Stop()
	began := time.Now()
	switch {
	case p.over == "https":
		err = s.overHTTPS(ctx, dev)
	case module != nil:
		err = module.Run(ctx, s.session)
	default:
		err = dev.Run(ctx, s.session)
	}
	if errors.Is(err, errDone) {
		err = *s.failed
	}
	if now := dev.Status(); err == errTimeout && now.Cause != "" && !now.NextDPS.IsZero() {
		err = fmt.Errorf("%w; %s: it is asked after %s", err, now.Cause,
			stored.Timestamp(now.NextDPS)) // it was not asked, by a wait that is stored
	}
	if err != nil {
		return fmt.Errorf("%s sent, then: %w", counted(s.sent), err)
	}
	took := time.Since(began).Round(time.Millisecond)
	return p.print(struct {
		Sent    int     `json:"sent"`
		Hub     string  `json:"hub"`
		Seconds float64 `json:"seconds"`
	}{s.sent, s.hub, took.Seconds()}, fmt.Sprintf("%s sent to %s, and acknowledged, in %v",
		counted(s.sent), s.hub, took))
}

func counted(n int) string {
	if n == 1 {
		return "1 message"
	}
	return strconv.Itoa(n) + " messages"
}

// errDone ends a session when everything is sent.
var errDone = errors.New("everything is sent")

// longestLine is that of the hub's longest message.
const longestLine = 256 << 10

// bodies are what is to be sent. The channel is closed at their end.
func (p *program) bodies(ctx context.Context) (<-chan []byte, *error) {
	lines, failed := make(chan []byte), new(error)
	if p.Given("body") {
		go func() {
			defer close(lines)
			select {
			case lines <- []byte(p.body):
			case <-ctx.Done():
			}
		}()
		return lines, failed
	}
	go func() {
		defer close(lines)
		read := bufio.NewScanner(p.stdin)
		read.Buffer(nil, longestLine)
		for read.Scan() {
			select {
			case lines <- append([]byte{}, read.Bytes()...):
			case <-ctx.Done():
				return
			}
		}
		if err := read.Err(); err != nil {
			*failed = fmt.Errorf("standard input cannot be read: %w", err)
		}
	}()
	return lines, failed
}

// next is the message to send; false at the end, or when ctx ends. Waiting for input has no limit.
func (s *sender) next(ctx context.Context) bool {
	if s.pending != nil {
		return true
	}
	s.limit.Stop()
	select {
	case body, ok := <-s.lines:
		if !ok {
			return false
		}
		s.limit.Reset(s.timeout)
		s.pending = s.message(body)
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *sender) message(body []byte) *hubconn.Message {
	m := &hubconn.Message{
		Body: body, MessageID: s.id + "-" + strconv.Itoa(s.sent+1), ContentType: s.contentType,
		Properties: s.properties,
	}
	if m.ContentType == "" && json.Valid(body) {
		m.ContentType = "application/json"
	}
	if m.ContentType != "" && utf8.Valid(body) {
		m.ContentEncoding = "utf-8"
	}
	return m
}

func (s *sender) session(ctx context.Context, hub *hubconn.Conn) error {
	s.hub = hub.Hub().Host
	for s.next(ctx) {
		if err := hub.Send(ctx, *s.pending); err != nil {
			if hubconn.ClassOf(err) == hubconn.Caller {
				return err
			}
			<-ctx.Done() // it ends with the connection; the next one sends it again
			break
		}
		s.pending = nil
		s.sent++
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errDone
}

func (s *sender) overHTTPS(ctx context.Context, dev *provisioning.Device) error {
	for s.next(ctx) {
		if err := dev.Send(ctx, *s.pending); err != nil {
			return err
		}
		s.hub = dev.Status().Hub.Host
		s.pending = nil
		s.sent++
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errDone
}

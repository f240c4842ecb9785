// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// evidence is how it is known that a device has received an answer. A request that was cut short
// has received nothing, and nobody can say how long a machine that is busy takes to hand an answer
// to a process and to give that its turn. So the device's own log says it: a line about its state
// is written after all that an answer asks for is stored, so that a device which forgets to store
// it has the line all the same. What leaves no line counts only if the process lived on for long.
type evidence string

const (
	byLine evidence = "by its log"
	byPoll evidence = "it polled"
	byLife evidence = "it lived on"
)

// A process that has lived so long after an answer has received it: where that leaves no line, as
// an operation to be polled later does, and where it should have left one. It takes longer if the
// machine stands still now and then.
const (
	lifeTime    = 1500 * time.Millisecond
	unsaidAfter = 3 * time.Second
)

// sentence is a line of a device's log, as far as it is of use here.
type sentence struct {
	Time              time.Time
	Msg, State, Cause string
	Class             string
	Status            int
	ReturnCode        int `json:"return_code"`
	Wait              float64
}

// asksDPS: while a request to DPS is under way, the device is in one of these states.
func (s *sentence) asksDPS() bool {
	return slices.Contains([]string{"registering", "looking-up", "checking-clock"}, s.State)
}

// failedWith says that the line is about such a failure as the answer of the hub is.
func (s *sentence) failedWith(e *exchange) bool {
	switch e.kind {
	case "handshake":
		return s.Class == "untrusted"
	case "connect":
		return s.ReturnCode == e.status
	}
	return s.Status == e.status
}

const processStarts = "--- process %d starts at %s\n"

// readLog takes the log of a device apart into those of its processes.
func (b *board) readLog() (said [][]sentence, err error) {
	log, err := os.ReadFile(b.log.Name())
	if err != nil {
		return nil, err
	}
	said = make([][]sentence, len(b.starts))
	n := -1
	for line := range strings.Lines(string(log)) {
		var next int
		var at string
		if _, err := fmt.Sscanf(line, processStarts, &next, &at); err == nil {
			n = next
			continue
		}
		var s sentence
		if json.Unmarshal([]byte(line), &s) == nil && n >= 0 && n < len(said) { // else torn
			said[n] = append(said[n], s)
		}
	}
	return said, nil
}

// weigh finds out which answers the device has received.
func (b *board) weigh() error {
	said, err := b.readLog()
	if err != nil {
		return err
	}
	b.said = said
	for _, e := range b.exchanges {
		if e.sent.IsZero() || e.process >= len(b.kills) {
			continue
		}
		switch {
		case b.says(e):
			e.takenIn = byLine
		case b.polls(e):
			e.takenIn = byPoll
		case b.livesOn(e):
			e.takenIn = byLife
		}
	}
	return nil
}

// says looks for a line that the process which the answer was for has written after it had taken it
// in.
func (b *board) says(e *exchange) bool {
	if b.fleet.lag.clockSet(b.starts[e.process], b.kills[e.process]) {
		return false
	}
	before := false // the process has met the same failure already
	for _, s := range b.said[e.process] {
		after, failed := !s.Time.Before(e.sent), s.failedWith(e)
		switch {
		case s.State == "" || !after:
		case e.service == toDPS:
			// No such line is written while a request to DPS is under way.
			if !s.asksDPS() && (e.status < 400 || s.Status == e.status) {
				return true
			}
		case s.State == "waiting":
			return true // nor this one during an attempt at the hub
		case e.failed && failed && !before:
			return true // it asks DPS about the failure, at once
		}
		before = before || failed
	}
	return false
}

// polls: who polls an operation has been told of it.
func (b *board) polls(e *exchange) bool {
	return e.kind == "register" && e.operation != "" &&
		slices.ContainsFunc(b.exchanges, func(x *exchange) bool {
			return x.kind == "poll" && x.process == e.process && x.operation == e.operation &&
				x.at.After(e.sent)
		})
}

func (b *board) livesOn(e *exchange) bool {
	needs, killed := unsaidAfter, b.kills[e.process]
	if e.operation != "" && !e.failed && !e.over() {
		needs = lifeTime
	}
	needs += time.Duration(10 * b.fleet.lag.share(killed) * float64(needs))
	return b.fleet.lag.between(e.done, killed) >= needs
}

// unstored are the lines in which the device says that its store has failed.
func (b *board) unstored() (n int) {
	for _, process := range b.said {
		for _, s := range process {
			if s.Msg == "assignment not stored" || s.Msg == "waits not stored" ||
				s.Msg == "waits not read" || s.Msg == "stored assignment not used" {
				n++
			}
		}
	}
	return n
}

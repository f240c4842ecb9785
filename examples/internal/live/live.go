// SPDX-License-Identifier: Apache-2.0

// Package live lets one process ask another what it is doing now: the program that runs a device
// answers on a Unix socket that is found by the directory of the device's store.
//
// On Linux the socket is in the abstract name space: it is no file, so that it wears no flash, and
// it is gone with the process, however that ends. Elsewhere it is a file in the directory of
// temporary files. Only the same user and root are answered, and believed; root believes the user
// that the store belongs to, too.
package live

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"time"
)

// patience is how long either side waits for the other, and longest how much is read of an answer.
const (
	patience = 5 * time.Second
	longest  = 8 << 10
)

// State is what a program says of its device.
type State struct {
	_ [0]func() // never compared, which saves code in a device's program

	State  string `json:"state"`            // as in the log: connected, waiting, …
	Hub    string `json:"hub,omitempty"`    // the one in use, or tried next
	Source string `json:"source,omitempty"` // where the hub's name came from
	Cause  string `json:"cause,omitempty"`  // why it is in this state, if all is not well
	Next   string `json:"next,omitempty"`   // when something is tried again, in RFC 3339
	Since  string `json:"since,omitempty"`  // when this state began, in RFC 3339
}

// String is the state in one line, for people.
func (s State) String() string {
	text := s.State
	if s.Connected() {
		text += " to " + s.Hub
		if s.Source != "" {
			text += " (from " + s.Source + ")"
		}
	}
	if s.Next != "" {
		text += " until " + s.Next
	}
	if s.Cause != "" {
		text += ": " + s.Cause
	}
	return text
}

// Connected says that the device has a live connection to its hub.
func (s State) Connected() bool { return s.State == "connected" }

// ErrSilent is returned for a program that runs and does not answer.
var ErrSilent = errors.New("the running program does not answer")

// errTaken is returned where another process answers for the same device.
var errTaken = errors.New("another process answers for this store")

// name is that of the socket for a device: by its store, as it is found by following links, and by
// its registration ID.
func name(store, id string) string {
	path, err := filepath.Abs(store)
	if err == nil {
		// The store itself may not be there yet; the directory that it is in is.
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		} else if parent, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
			path = filepath.Join(parent, filepath.Base(path))
		}
	}
	sum := sha256.Sum256([]byte(path + "\x00" + id))
	return socketPrefix + hex.EncodeToString(sum[:12])
}

// Serve answers until ctx ends.
func Serve(ctx context.Context, store, id string, now func() State) error {
	at := &net.UnixAddr{Name: name(store, id), Net: "unix"}
	l, err := listen(at)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			_ = l.Close()
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		answer(c, now)
	}
}

// answer serves one after the other: who asks waits for milliseconds.
func answer(c *net.UnixConn, now func() State) {
	defer c.Close()
	if !trusted(c, "") {
		return
	}
	if data, err := json.Marshal(now()); err == nil {
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = c.Write(data)
	}
}

// Ask returns what the running program says, nil if none runs.
func Ask(ctx context.Context, store, id string) (*State, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var d net.Dialer
	plain, err := d.DialContext(ctx, "unix", name(store, id))
	if err != nil {
		if ctx.Err() != nil {
			return nil, ErrSilent // its queue is full
		}
		return nil, nil
	}
	defer plain.Close()
	c, ok := plain.(*net.UnixConn)
	if !ok || !trusted(c, store) {
		return nil, nil // whoever that is, it is not the device's program
	}
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	data, err := io.ReadAll(io.LimitReader(c, longest))
	var s State
	if err != nil || json.Unmarshal(data, &s) != nil {
		return nil, ErrSilent
	}
	return &s, nil
}

// SPDX-License-Identifier: Apache-2.0

// Command backend is a small back end, for trials with the simulator: it receives telemetry from
// the simulator's webhook, logs it, and tells the last message of each device as JSON. What a real
// one would do with a message stands where this one keeps it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// maxBatch is the largest request that is read: a batch has 1 MiB of bodies, and their properties.
const maxBatch = 8 << 20

// event is what the back end reads of the simulator's events.
type event struct {
	Position uint64    `json:"position"`
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"` // telemetry, or gap
	Hub      string    `json:"hub"`
	DeviceID string    `json:"deviceId"`
	Missed   uint64    `json:"missed,omitempty"`
	Message  *message  `json:"message,omitempty"`
}

type message struct {
	Body       string            `json:"body"`
	Properties map[string]string `json:"properties,omitempty"`
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8000", "`address` to listen on")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{
		Addr: *addr, Handler: newBackEnd(log), ReadTimeout: time.Minute, WriteTimeout: time.Minute,
	}
	ended := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // what is late is sent again by the simulator
	})
	log.Info("back end is ready", "address", *addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Error("back end has ended", "error", err)
		os.Exit(1)
	}
	<-ended
}

// maxDevices bounds what is kept: whoever reaches the port can make up devices.
const maxDevices = 100_000

// backEnd keeps the last message of each device.
type backEnd struct {
	log *slog.Logger

	mu   sync.Mutex
	last map[string]event // by device ID
}

func newBackEnd(log *slog.Logger) http.Handler {
	b := &backEnd{log: log, last: map[string]event{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /telemetry", b.receive)
	mux.HandleFunc("GET /devices", b.show)
	return mux
}

// receive takes a batch, all of it or nothing.
func (b *backEnd) receive(w http.ResponseWriter, r *http.Request) {
	var batch []event
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBatch)).Decode(&batch)
	if err != nil {
		http.Error(w, "the body is not a JSON array of events", http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range batch {
		switch {
		case e.Kind == "gap":
			b.log.Warn("messages are missing", "events", e.Missed)
		case e.Message == nil:
		case e.Position != 0 && e.Position == b.last[e.DeviceID].Position:
			// it is here already: the simulator was not told in time
		default:
			b.log.Info("message", "hub", e.Hub, "device", e.DeviceID, "body", e.Message.Body)
			if _, known := b.last[e.DeviceID]; known || len(b.last) < maxDevices {
				b.last[e.DeviceID] = e
			}
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// show tells the last message of each device.
func (b *backEnd) show(w http.ResponseWriter, _ *http.Request) {
	b.mu.Lock()
	text, err := json.Marshal(b.last)
	b.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // the reader may be gone
}

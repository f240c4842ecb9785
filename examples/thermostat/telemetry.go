package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// thermometer simulates a sensor in a room: it wanders, and is drawn back to 21 °C.
type thermometer struct{ celsius float64 }

func newThermometer() *thermometer { return &thermometer{celsius: 21} }

func (t *thermometer) read() float64 {
	t.celsius += (21-t.celsius)/10 + rand.NormFloat64()/5
	return math.Round(t.celsius*100) / 100
}

// reading is the body of a message. It carries no time: a board without a clock of its own would make one up, and the hub stamps each message.
type reading struct {
	Temperature float64 `json:"temperature"`
}

// sendTelemetry is the session of a connection: it sends a reading at once and then at every interval, until the connection ends. What cannot be
// sent is not kept: the next reading is worth more than the last.
func sendTelemetry(interval time.Duration, sensor *thermometer, log *slog.Logger) func(context.Context, *hubconn.Conn) error {
	return func(ctx context.Context, hub *hubconn.Conn) error {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			body, err := json.Marshal(reading{Temperature: sensor.read()})
			if err != nil {
				return err
			}
			err = hub.Send(ctx, hubconn.Message{Body: body, ContentType: "application/json", ContentEncoding: "utf-8"})
			if err != nil && ctx.Err() == nil {
				log.Warn("message not sent", "cause", err.Error())
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

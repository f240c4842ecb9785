// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"context"
	"time"
)

// Limits are what a hub allows in a time. The zero value limits nothing. Rates are shaped first:
// what comes too fast is delayed, and refused only when it would have to wait for longer than the
// backlog allows. A second's worth may come at once. Azure docs: "IoT Hub quotas and throttling".
type Limits struct {
	// ConnectsPerSecond is the rate of CONNECTs over all devices. 0 means no limit.
	ConnectsPerSecond float64
	// SendsPerSecond is the rate of telemetry over all devices: messages over MQTT, requests over
	// HTTPS. 0 means no limit.
	SendsPerSecond float64
	// ReceivesPerSecond is the rate of requests for cloud-to-device messages over HTTPS. 0 means no
	// limit.
	ReceivesPerSecond float64
	// TwinReadsPerSecond is the rate at which devices may get twins. 0 means no limit.
	TwinReadsPerSecond float64
	// TwinUpdatesPerSecond is the rate at which devices may report properties. 0 means no limit.
	TwinUpdatesPerSecond float64
	// UploadsPerSecond is the rate at which uploads may begin. 0 means no limit.
	UploadsPerSecond float64
	// DailyMessages is the quota of messages in both directions and of methods, each counted once
	// for every 4 KB begun. Above it devices connect, and are disconnected when they send; HTTPS
	// answers 403002. It is reset at midnight UTC of the network's clock. 0 means no limit.
	DailyMessages int
	// Backlog is how long an operation may be delayed before it is refused: with 429 where there is
	// a response, by closing the connection where there is none. 0 means 10 s.
	Backlog time.Duration
	// ConnectBacklog is how long a CONNECT may be; then it gets return code 5. 0 means 54 s.
	ConnectBacklog time.Duration
	// RetryAfter is the header that comes with 429 over HTTPS, as it is; "" means none.
	RetryAfter string
}

// meter is the size of the pieces that messages are counted in, in bytes.
const meter = 4 << 10

func units(size int) int { return max(1, (size+meter-1)/meter) }

// SetLimits sets what the hub allows from now on.
func (h *Hub) SetLimits(l Limits) {
	if l.Backlog == 0 {
		l.Backlog = 10 * time.Second
	}
	if l.ConnectBacklog == 0 {
		l.ConnectBacklog = 54 * time.Second
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limits = l
	h.due = make(map[Stage]time.Time)
}

// spend counts messages against the day's quota; none asks whether there is any of it left. It
// returns 0, or the code of the refusal.
func (h *Hub) spend(n int) (code int) {
	day := h.network.Now().UTC().Truncate(24 * time.Hour)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.day.Equal(day) {
		h.day, h.spent = day, 0
	}
	if limit := h.limits.DailyMessages; limit > 0 && h.spent+max(n, 1) > limit {
		return codeQuota
	}
	h.spent += n
	return 0
}

// shape delays an operation as its rate asks. It returns 0 when the operation may go on, or the
// code of the refusal; an error when ctx ended.
func (h *Hub) shape(ctx context.Context, s Stage) (code int, err error) {
	wait, ok := h.reserve(s, time.Now())
	if err := pause(ctx, wait); err != nil {
		return 0, err
	}
	if !ok {
		return codeThrottled, nil
	}
	return 0, nil
}

// reserve takes the next place of a rate, and tells how long until then; ok is false when there is
// none within the backlog.
func (h *Hub) reserve(s Stage, now time.Time) (wait time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rate, backlog := h.limits.rate(s)
	if rate <= 0 {
		return 0, true
	}
	interval := time.Duration(float64(time.Second) / rate)
	due := h.due[s]
	if due.Before(now) {
		due = now
	}
	wait = max(0, due.Sub(now)-max(0, time.Second-interval))
	if wait > backlog {
		if s == Connect {
			return backlog, false // the service lets a CONNECT wait before it refuses it
		}
		return 0, false
	}
	h.due[s] = due.Add(interval)
	return wait, true
}

func (l *Limits) rate(s Stage) (perSecond float64, backlog time.Duration) {
	switch s {
	case Connect:
		return l.ConnectsPerSecond, l.ConnectBacklog
	case Send:
		return l.SendsPerSecond, l.Backlog
	case Receive:
		return l.ReceivesPerSecond, l.Backlog
	case TwinGet:
		return l.TwinReadsPerSecond, l.Backlog
	case TwinPatch:
		return l.TwinUpdatesPerSecond, l.Backlog
	case UploadStart:
		return l.UploadsPerSecond, l.Backlog
	}
	return 0, 0
}

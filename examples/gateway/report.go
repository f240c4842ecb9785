// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/rehome-iot/rehome/examples/internal/systemd"
)

// startNeeds is how much more time the start is given again and again, for as long as it goes on.
const startNeeds = time.Minute

// whileOpening returns what is called again and again while files are opened: it keeps the service
// manager patient, and looks for a signal that asks to stop.
func whileOpening(received *signals, manager *systemd.Notifier) func() error {
	var told time.Time
	return func() error {
		if time.Since(told) >= startNeeds/6 {
			_ = manager.Alive(startNeeds)
			told = time.Now()
		}
		select {
		case <-received.stop:
			return errStopped
		default:
			return nil
		}
	}
}

// longestSilence is how often the service manager is told how the devices are.
const longestSilence = 10 * time.Second

// reportEvery is how often it is told: often enough for its watchdog, too.
func reportEvery(manager *systemd.Notifier) time.Duration {
	if manager.Watchdog > 0 {
		return max(min(manager.Watchdog/2, longestSilence), time.Millisecond)
	}
	return longestSilence
}

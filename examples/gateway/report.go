// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/rehome-iot/rehome/examples/internal/systemd"
)

// longestSilence is how often the service manager is told how the devices are.
const longestSilence = 10 * time.Second

// reportEvery is how often it is told: often enough for its watchdog, too.
func reportEvery(manager *systemd.Notifier) time.Duration {
	if manager.Watchdog > 0 {
		return max(min(manager.Watchdog/2, longestSilence), time.Millisecond)
	}
	return longestSilence
}

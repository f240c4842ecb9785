// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

const (
	// firstWait is for how long a service that throttles without saying so is left alone; each
	// time in a row twice as long, up to longestWait.
	firstWait   = 10 * time.Second
	longestWait = 5 * time.Minute

	// longestHonoured bounds a Retry-After, as it does for each device by itself.
	longestHonoured = retry.LongestHonoured

	// longestJitter bounds what is added to a wait: other processes were told the same.
	longestJitter = 30 * time.Second

	// deviceThrottled goes against one device: 429005 DeviceThrottlingLimitExceeded (Azure docs:
	// "Understand and resolve Azure IoT Hub errors").
	deviceThrottled = 429005
)

// verdict is what the end of an exchange says of its service.
type verdict struct {
	kind kind
	wait time.Duration // throttled: what the service asked for, 0 if it did not say
}

type kind int

const (
	nothing   kind = iota // it was given up, or failed before anything was sent
	served                // the service works: it has accepted the device, or refused it
	silent                // no answer, or that of somebody else in its place
	troubled              // 5xx
	throttled             // the service asks to be left alone
)

// judge reads the failure of an exchange, nil if there was none.
func judge(err error) verdict {
	switch {
	case err == nil:
		return verdict{kind: served}
	case errors.Is(err, context.Canceled):
		return verdict{}
	}
	if failure, ok := errors.AsType[*hubconn.Error](err); ok {
		return judgeHub(failure)
	}
	if failure, ok := errors.AsType[*dps.Error](err); ok {
		return judgeDPS(failure)
	}
	return verdict{}
}

func judgeHub(failure *hubconn.Error) verdict {
	switch failure.Class {
	case hubconn.Throttled:
		if failure.Code == deviceThrottled {
			return verdict{kind: served}
		}
		return verdict{kind: throttled, wait: failure.Wait}
	case hubconn.Server:
		if failure.Wait > 0 {
			return verdict{kind: throttled, wait: failure.RetryAfter()}
		}
		return verdict{kind: troubled}
	case hubconn.Unreachable, hubconn.Untrusted:
		return verdict{kind: silent}
	case hubconn.Caller:
		return verdict{} // much of it is found before anything is sent
	}
	return verdict{kind: served}
}

func judgeDPS(failure *dps.Error) verdict {
	switch {
	case failure.Endpoint == "": // nothing was sent
		return verdict{}
	case failure.Status == http.StatusTooManyRequests:
		return verdict{kind: throttled, wait: failure.Wait}
	case failure.Status >= 500 && failure.Wait > 0:
		return verdict{kind: throttled, wait: failure.RetryAfter()}
	case failure.Answered() && failure.Verdict() != retry.Wait, // it refuses this device
		failure.Status == http.StatusConflict: // two registrations of one device
		return verdict{kind: served}
	case failure.Status >= 500:
		return verdict{kind: troubled}
	}
	return verdict{kind: silent}
}

// SPDX-License-Identifier: Apache-2.0

// Package rivals has the policies by which the official SDKs try again, as their public sources
// say: each names the repository and the file that its numbers are from. None of these SDKs
// remembers a hub over a restart. The preview of the unified one does so for as long as its process
// lives, which it is played with. What the program around one does about DPS is its own affair; it
// is taken to apply the SDK's delays there as well.
package rivals

import (
	"math"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/sim"
)

// Rival is an SDK.
type Rival struct {
	Name, Source string
	Policy       sim.Policy
}

// All are the rivals.
var All = []Rival{
	{
		"csharp", "Azure/azure-iot-sdk-csharp: iothub/device/src/TransientFaultHandling/" +
			"ExponentialBackoffRetryStrategy.cs",
		both(csharp),
	},
	{
		"node", "Azure/azure-iot-sdk-node: common/core/src/retry_policy.ts",
		sim.Policy{DPS: nodeThrottled, Hub: node},
	},
	{
		"python", "Azure/azure-iot-sdk-python: azure-iot-device/azure/iot/device/common/pipeline/" +
			"config.py",
		both(python),
	},
	{
		"c", "Azure/azure-iot-sdk-c: iothub_client/src/iothub_client_retry_control.c",
		both(c),
	},
	{
		"embedded-c", "Azure/azure-sdk-for-c: sdk/src/azure/iot/az_iot_common.c, and the values " +
			"that its samples give it",
		both(embeddedC),
	},
	{"unified", unifiedSource + ", in a process that has just started", preview(false, true)},
	{"unified-retry-hub", unifiedSource + ", in one that goes on: RETRY_HUB", preview(true, true)},
	{"unified-reprovision", unifiedSource + ", with REPROVISION", preview(true, false)},
}

const unifiedSource = "Azure/azure-iot-sdk: c/docs/connecting.md of the preview"

// preview is the policy of the unified SDK. RETRY_HUB, which goes back to the hub that has rejected
// the device, is what its default options choose; REPROVISION registers anew after the same wait.
func preview(caches, retriesHub bool) sim.Policy {
	return sim.Policy{
		DPS: atLeast(unified), Hub: unified, Rejected: unifiedRejected, RetriesHub: retriesHub,
		HubTries: unifiedHubTries, Caches: caches,
	}
}

type delay func(n int, u func() float64) time.Duration

// both uses the SDK's delay for hub and DPS. What DPS asked for is waited for exactly where it is
// longer.
func both(d delay) sim.Policy { return sim.Policy{DPS: atLeast(d), Hub: d} }

func atLeast(d delay) func(int, time.Duration, func() float64) time.Duration {
	return func(n int, retryAfter time.Duration, u func() float64) time.Duration {
		return max(d(n, u), retryAfter)
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// csharp, and Java likewise: 100 ms + (2^n - 1) · U(80, 120) ms, up to 10 s.
func csharp(n int, u func() float64) time.Duration {
	const least, most, step = 0.1, 10, 0.1
	return seconds(min(least+(math.Exp2(float64(min(n, 30)))-1)*step*(0.8+0.4*u()), most))
}

// node: 100 ms + (2^(n-1) - 1) · U(0, 25) ms, up to 10 s.
func node(n int, u func() float64) time.Duration {
	const least, most, step = 0.1, 10, 0.025
	return seconds(min(least+(math.Exp2(float64(min(n-1, 30)))-1)*step*u(), most))
}

// nodeThrottled: 10 s + (2^(n-1) - 1) · U(0, 1.25) s, up to 60 s, after a 429.
func nodeThrottled(n int, retryAfter time.Duration, u func() float64) time.Duration {
	const least, most, step = 10, 60, 1.25
	d := seconds(min(least+(math.Exp2(float64(min(n-1, 30)))-1)*step*u(), most))
	return max(d, retryAfter)
}

// python: 10 s each time.
func python(int, func() float64) time.Duration { return 10 * time.Second }

// c: 2^(n-1) s up to 30 s, and up to 5 % more, in whole seconds.
func c(n int, u func() float64) time.Duration {
	const most, jitter = 30, 0.05
	return seconds(math.Floor(min(math.Exp2(float64(min(n-1, 30))), most) * (1 + jitter*u())))
}

// embeddedC: 2^n s up to 100 s; U(0, 5) s more as long as that is below the cap.
func embeddedC(n int, u func() float64) time.Duration {
	const most, jitter = 100, 5
	return seconds(min(math.Exp2(float64(min(n, 30)))+jitter*u(), most))
}

// unified: 1 s, doubling up to 60 s, ± 20 %.
func unified(n int, u func() float64) time.Duration {
	const least, most, jitter = 1, 60, 0.2
	return seconds(min(least*math.Exp2(float64(min(n-1, 30))), most) * (1 + jitter*(2*u()-1)))
}

// unifiedRejected: all credentials were refused. 5 min, doubling up to 1 h, ± 25 %.
func unifiedRejected(n int, u func() float64) time.Duration {
	const least, most, jitter = 5 * 60, 60 * 60, 0.25
	return seconds(min(least*math.Exp2(float64(min(n-1, 30))), most) * (1 + jitter*(2*u()-1)))
}

// unifiedHubTries is after how many tries in a row at a hub that fails otherwise it registers anew:
// a rejection is none of them, and ends the row.
const unifiedHubTries = 50

// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/retry"
)

const almostOne = 1 - 1.0/(1<<53)

func TestZeroPolicyDoublesItsWindowFromFiveSecondsToAnHour(t *testing.T) {
	var p retry.Policy
	windows := []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600}
	for i, w := range windows {
		window := w * time.Second
		assert.Equal(t, 5*time.Second, p.Delay(i+1, 0, 0), "retry %d, shortest", i+1)
		assert.Equal(t, 5*time.Second+window/2, p.Delay(i+1, 0, 0.5), "retry %d, middle", i+1)
		longest := p.Delay(i+1, 0, almostOne)
		assert.LessOrEqual(t, longest, 5*time.Second+window, "retry %d, longest", i+1)
		assert.InDelta(
			t, 5*time.Second+window, longest, float64(time.Microsecond), "retry %d, longest", i+1,
		)
	}
}

func TestDelayKeepsItsBoundsOverManyDraws(t *testing.T) {
	policies := map[string]retry.Policy{
		"zero":             {},
		"hub":              {MaxDelay: 5 * time.Minute},
		"fast":             {MinDelay: time.Millisecond, MaxDelay: time.Second, Multiplier: 1.5},
		"constant":         {MinDelay: time.Second, Multiplier: 1},
		"floor above cap":  {MinDelay: time.Minute, MaxDelay: time.Second},
		"steep":            {MinDelay: 3, MaxDelay: time.Hour, Multiplier: 1e9},
		"as long as it is": {MinDelay: math.MaxInt64, MaxDelay: math.MaxInt64, Multiplier: 3},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for name, p := range policies {
		minDelay, maxDelay := p.MinDelay, p.MaxDelay
		if minDelay == 0 {
			minDelay = retry.DefaultMinDelay
		}
		if maxDelay == 0 {
			maxDelay = retry.DefaultMaxDelay
		}
		minDelay, maxDelay = min(minDelay, retry.MaxRetryAfter), min(maxDelay, retry.MaxRetryAfter)
		multiplier := p.Multiplier
		if multiplier == 0 {
			multiplier = 2
		}
		for range 20_000 {
			n := 1 + random.IntN(40)
			floor := time.Duration(0)
			if random.IntN(2) == 0 {
				floor = time.Duration(random.Int64N(int64(2 * time.Hour)))
			}
			lowest := floor
			if floor == 0 {
				lowest = minDelay
			}
			window := min(float64(maxDelay), float64(minDelay)*math.Pow(multiplier, float64(n-1)))
			got := p.Delay(n, floor, random.Float64())
			if got < lowest || float64(got-lowest) > window {
				t.Fatalf(
					"%s: retry %d with floor %v waits %v, want between %v and %v more", name, n,
					floor, got, lowest, time.Duration(window),
				)
			}
		}
	}
}

func TestJitterIsAliveAtTheCap(t *testing.T) {
	p := retry.Policy{MaxDelay: 5 * time.Minute}
	random := rand.New(rand.NewPCG(3, 4))
	var buckets [30]int // 10 s each
	const draws = 30_000
	for range draws {
		beyond := p.Delay(1000, 0, random.Float64()) - 5*time.Second
		buckets[beyond/(10*time.Second)]++
	}
	for i, n := range buckets {
		assert.InDelta(
			t, draws/len(buckets), n, 200, "draws between %d and %d s above the floor", i*10,
			i*10+10,
		)
	}
}

func TestRetryAfterAboveTheCapIsTheFloor(t *testing.T) {
	p := retry.Policy{MaxDelay: time.Minute}
	assert.Equal(t, 24*time.Hour, p.Delay(50, 24*time.Hour, 0))
	assert.Equal(t, 24*time.Hour+30*time.Second, p.Delay(50, 24*time.Hour, 0.5))
}

func TestRetryAfterBelowMinDelayIsBelieved(t *testing.T) {
	assert.Equal(t, time.Second, retry.Policy{}.Delay(1, time.Second, 0))
}

func TestDelaySaturates(t *testing.T) {
	huge := retry.Policy{MinDelay: math.MaxInt64, MaxDelay: math.MaxInt64, Multiplier: math.Inf(1)}
	for _, n := range []int{1, 2, 3, 63, 64, 1000, math.MaxInt} {
		for _, floor := range []time.Duration{
			0, 1, retry.MaxRetryAfter, math.MaxInt64 - 1, math.MaxInt64,
		} {
			for _, u := range []float64{0, 0.5, almostOne} {
				got := huge.Delay(n, floor, u)
				assert.GreaterOrEqual(t, got, max(floor, 1), "n %d, floor %d, u %v", n, floor, u)
			}
		}
	}
	assert.Equal(t, time.Duration(math.MaxInt64), huge.Delay(2, math.MaxInt64, 0.9))
}

func TestOddArgumentsHaveADefinedResult(t *testing.T) {
	var p retry.Policy
	for _, n := range []int{0, -1, math.MinInt} {
		assert.Equal(t, p.Delay(1, 0, 0.5), p.Delay(n, 0, 0.5), "retry %d is the first", n)
	}
	for _, floor := range []time.Duration{-1, math.MinInt64} {
		assert.Equal(t, 5*time.Second, p.Delay(1, floor, 0), "a negative floor is none")
	}
	for _, u := range []float64{-1, math.NaN(), math.Inf(-1), math.Copysign(0, -1)} {
		assert.Equal(t, 5*time.Second, p.Delay(1, 0, u), "u %v", u)
	}
	for _, u := range []float64{1, 2, math.Inf(1)} {
		assert.InDelta(t, 10*time.Second, p.Delay(1, 0, u), float64(time.Microsecond), "u %v", u)
		assert.Less(t, p.Delay(1, 0, u), 10*time.Second+1, "u %v", u)
	}
	odd := retry.Policy{MinDelay: -1, MaxDelay: -1, Multiplier: math.NaN()}
	shrinking := retry.Policy{Multiplier: -2}
	for n := 1; n < 20; n++ {
		assert.Equal(
			t, p.Delay(n, 0, 0.5), odd.Delay(n, 0, 0.5), "retry %d of a policy of nonsense", n,
		)
		assert.Equal(
			t, p.Delay(1, 0, 0.5), shrinking.Delay(n, 0, 0.5), "retry %d of a shrinking policy", n,
		)
	}
}

func TestDelayIsPure(t *testing.T) {
	p := retry.Policy{MaxDelay: 5 * time.Minute}
	for n := 1; n < 20; n++ {
		first := p.Delay(n, 0, 0.123)
		for range 10 {
			assert.Equal(t, first, p.Delay(n, 0, 0.123))
		}
	}
}

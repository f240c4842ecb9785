// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// Throttled is an error that answers for itself.
type Throttled struct{ Wait time.Duration }

func (t *Throttled) Error() string             { return "throttled" }
func (t *Throttled) Verdict() retry.Verdict    { return retry.Wait }
func (t *Throttled) RetryAfter() time.Duration { return t.Wait }

func ExampleDo() {
	policy := retry.Policy{MinDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond}
	tries := 0
	err := retry.Do(context.Background(), policy, nil, func(context.Context) error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	fmt.Println(tries, err)
	// Output: 3 <nil>
}

func ExampleClassify() {
	err := fmt.Errorf("register sensor-042: %w", &Throttled{Wait: 30 * time.Second})
	fmt.Println(retry.Classify(err), retry.After(err))
	fmt.Println(retry.Classify(errors.New("nobody knows")), retry.After(nil))
	// Output:
	// wait 30s
	// wait 0s
}

func ExamplePolicy_Delay() {
	policy := retry.Policy{MaxDelay: 5 * time.Minute}
	for _, n := range []int{1, 2, 7, 100} {
		fmt.Printf(
			"retry %d: %v to %v\n", n, policy.Delay(n, 0, 0),
			policy.Delay(n, 0, 1).Round(time.Second),
		)
	}
	// Output:
	// retry 1: 5s to 10s
	// retry 2: 5s to 15s
	// retry 7: 5s to 5m5s
	// retry 100: 5s to 5m5s
}

func ExampleParseRetryAfter() {
	date := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	fmt.Println(retry.ParseRetryAfter("120", date))
	fmt.Println(retry.ParseRetryAfter("Sun, 01 Mar 2026 12:00:30 GMT", date))
	fmt.Println(retry.ParseRetryAfter("soon", date))
	// Output:
	// 2m0s true
	// 30s true
	// 0s false
}

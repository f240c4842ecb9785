// SPDX-License-Identifier: Apache-2.0

package boottime

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestAgeIsALowerBoundWithinOneRunOfTheMachine(t *testing.T) {
	thisBoot := [16]byte([]byte("this run, 16 B.."))
	otherBoot := [16]byte([]byte("another run, 16B"))
	const (
		s      = time.Second
		minute = 60*s - 10*time.Millisecond
	)
	for name, test := range map[string]struct {
		then, now Moment
		want      time.Duration
	}{
		"a minute":                {Moment{thisBoot, 40 * s}, Moment{thisBoot, 100 * s}, minute},
		"within a step":           {Moment{thisBoot, 40 * s}, Moment{thisBoot, 40 * s}, 0},
		"clock went back":         {Moment{thisBoot, 40 * s}, Moment{thisBoot, 39 * s}, -1},
		"restarted":               {Moment{otherBoot, 40 * s}, Moment{thisBoot, 100 * s}, -1},
		"written without a clock": {Moment{}, Moment{thisBoot, 100 * s}, -1},
		"read without a clock":    {Moment{thisBoot, 40 * s}, Moment{}, -1},
		"never a clock":           {Moment{}, Moment{}, -1},
		"clocks without an ID":    {Moment{Clock: 1 * s}, Moment{Clock: 2 * s}, -1},
	} {
		assert.Equal(t, test.want, test.then.Since(test.now), name)
	}
}

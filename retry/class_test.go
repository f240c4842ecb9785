// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/retry"
)

func TestClassesHaveNames(t *testing.T) {
	names := map[retry.Class]string{
		retry.Unreachable: "unreachable", retry.Throttled: "throttled", retry.Server: "server",
		retry.Untrusted: "untrusted", retry.Rejected: "rejected", retry.Caller: "caller",
		retry.Incompatible: "incompatible",
		99:                 "class(99)",
	}
	for class, name := range names {
		assert.Equal(t, name, class.String())
	}
	assert.Equal(t, retry.Unreachable, retry.Class(0), "the zero value costs least if it is wrong")
}

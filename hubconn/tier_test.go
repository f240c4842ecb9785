// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAnOperationThatTheHubsTierLacksIsNoRejection(t *testing.T) {
	for code, status := range map[int]int{403010: 403, 412002: 404} {
		e := Error{Status: status, Code: code}
		assert.Equal(t, Caller, e.operationClass(true), code)
	}
	e := Error{Status: 403, Code: 403012}
	assert.Equal(t, Rejected, e.operationClass(true))
}

// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/internal/dial"
)

// Whose sessions are resumed, the tests of hubconn and provisioning show.
func TestASessionIsTheLastAndFoundByItsKeyAlone(t *testing.T) {
	var session dial.Session
	_, ok := session.Get("")
	assert.False(t, ok)
	first, second := &tls.ClientSessionState{}, &tls.ClientSessionState{}
	session.Put("a", first)
	_, ok = session.Get("b")
	assert.False(t, ok)
	found, ok := session.Get("a")
	assert.True(t, ok)
	assert.Same(t, first, found)
	session.Put("b", second)
	_, ok = session.Get("a")
	assert.False(t, ok)
	found, _ = session.Get("b")
	assert.Same(t, second, found)
	session.Put("b", nil)
	_, ok = session.Get("b")
	assert.False(t, ok)
}

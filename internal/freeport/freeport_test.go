// SPDX-License-Identifier: Apache-2.0

package freeport_test

import (
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/freeport"
)

func TestAddressesAreFreeNobodyElsesAndNoOutgoingConnections(t *testing.T) {
	var mu sync.Mutex
	given := map[string]bool{}
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			addresses, err := freeport.Addresses(25)
			assert.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			for _, a := range addresses {
				assert.False(t, given[a], "%s is given twice", a)
				given[a] = true
			}
		})
	}
	asking.Wait()
	assert.Len(t, given, 100)
	for a := range given {
		_, port, err := net.SplitHostPort(a)
		require.NoError(t, err)
		n, err := strconv.Atoi(port)
		require.NoError(t, err)
		assert.Less(t, n, 32768, "Linux's begin there, others' later")
	}
}

func TestAPortThatIsTakenIsPassedOver(t *testing.T) {
	one, err := freeport.Addresses(1)
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(one[0])
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	taken := net.JoinHostPort("127.0.0.1", strconv.Itoa(n+1)) // the next one
	l, err := net.Listen("tcp", taken)
	if err != nil {
		t.Skip("somebody else has it: ", err)
	}
	defer l.Close()
	more, err := freeport.Addresses(1)
	require.NoError(t, err)
	assert.NotEqual(t, taken, more[0])
}

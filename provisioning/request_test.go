// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// A connection may be made in the moment in which its attempt is given up: then both are heard of.
func TestOfARequestThatIsGivenUpNoResultIsNews(t *testing.T) {
	var told []error
	cancelled := 0
	r := &request{
		cancel: func() { cancelled++ }, told: func(r result) { told = append(told, r.err) },
	}
	r.giveUp()
	r.end(result{})
	require.Equal(t, []error{context.Canceled}, told)
	require.Equal(t, 1, cancelled)
	(&request{cancel: func() {}}).giveUp() // of which nobody wants to know
}

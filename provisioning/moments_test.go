// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"crypto/x509"
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The moments are drawn from the certificate: within their parts of its life, spread over the whole
// of them, each by itself, and the same at every start.
func TestTheMomentsOfARenewalFillTheirPartsOfACertificatesLife(t *testing.T) {
	const draws, parts = 4000, 10
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	life := 30 * 24 * time.Hour
	var renewals, registrations [parts]int
	together := 0 // both early, or both late
	part := func(at time.Time, from, to float64) int {
		share := float64(at.Sub(begin)) / float64(life)
		require.GreaterOrEqual(t, share, from)
		require.Less(t, share, to)
		return int((share - from) / (to - from) * parts)
	}
	for n := range draws {
		i := &issued{leaf: &x509.Certificate{
			Raw: binary.BigEndian.AppendUint64(nil, uint64(n)), NotBefore: begin,
			NotAfter: begin.Add(life),
		}}
		renew, register, expires := i.moments()
		require.Equal(t, begin.Add(life), expires)
		a, b := part(renew, 0.60, 0.80), part(register, 0.85, 0.95)
		renewals[a]++
		registrations[b]++
		if (a < parts/2) == (b < parts/2) {
			together++
		}
		again, _, _ := i.moments()
		require.Equal(t, renew, again, "a restart draws the same")
	}
	for n := range parts {
		assert.InDelta(t, draws/parts, renewals[n], draws/parts/3, "part %d", n)
		assert.InDelta(t, draws/parts, registrations[n], draws/parts/3, "part %d", n)
	}
	assert.InDelta(t, draws/2, together, draws/20)
}

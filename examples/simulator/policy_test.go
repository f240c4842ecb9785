// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestTheFileSaysHowLongCertificatesAreValid(t *testing.T) {
	t.Parallel()
	cfg := &config{}
	require.NoError(t, decode([]byte(`{
		"certificatePolicies": [{
			"namespaceName": "fleet", "certificateAuthorityName": "ica1",
			"certificatePolicyName": "hour", "validity": "1h"
		}],
		"enrollments": [
			{"registrationId": "a", "attestation": {"type": "symmetricKey"},
				"namespaceName": "fleet", "certificateAuthorityName": "ica1",
				"certificatePolicyName": "hour"},
			{"registrationId": "b", "attestation": {"type": "symmetricKey"},
				"credentialPolicyName": "old-style"}
		]
	}`), cfg))
	require.NoError(t, cfg.check())
	network := simnet.ForTest(t)
	s := &simulator{config: cfg, network: network, dps: dpstest.New(network, cfg.service())}
	require.NoError(t, s.setPolicies())
	require.NoError(t, s.enroll())
	hour, ok := s.dps.Issuer().Policy("fleet/ica1/hour")
	require.True(t, ok)
	assert.Equal(t, time.Hour, hour.Validity)
	other, ok := s.dps.Issuer().Policy("default/default/old-style")
	require.True(t, ok, "one that is only named is made")
	assert.Equal(t, 30*24*time.Hour, other.Validity)
}

// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// slow is a device whose clock is two days behind.
type slow struct{ dps.SymmetricKey }

func (s slow) Token(ctx context.Context, resource string, expiry time.Time) (string, error) {
	return s.SymmetricKey.Token(ctx, resource, expiry.Add(-48*time.Hour))
}

// What the service keeps to itself, the simulator tells its user: in its log and its events, and
// not in the response.
func TestWhyADeviceWasRefusedIsLoggedAndNotToldToIt(t *testing.T) {
	key := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	enrolled, other := key("canary-enrolled-0123456789"), key("canary-other-0123456789")
	group := key("canary-group-0123456789")
	for name, test := range map[string]struct {
		set    func(c *dps.Client, n *simnet.Network)
		reason string
	}{
		"another key": {func(c *dps.Client, _ *simnet.Network) {
			c.Attestation = dps.SymmetricKey{ID: "kitchen", Key: other}
		}, "another key than the enrollment's"},
		"another scope": {func(c *dps.Client, _ *simnet.Network) {
			c.IDScope = "0ne0000BAD0"
		}, "ID scope is another instance's"},
		"another registration ID": {func(c *dps.Client, _ *simnet.Network) {
			c.Attestation = dps.SymmetricKey{ID: "kichen", Key: enrolled}
		}, "no enrollment of this registration ID"},
		"the group's own key": {func(c *dps.Client, _ *simnet.Network) {
			c.Attestation = dps.SymmetricKey{ID: "cellar", Key: group}
		}, "the enrollment group's own key"},
		"a slow clock": {func(c *dps.Client, n *simnet.Network) {
			n.SetClockOffset(48 * time.Hour)
			c.TLSConfig.Time = n.Now
			c.Attestation = slow{c.Attestation.(dps.SymmetricKey)}
		}, "the token has expired"},
		"no enrolled certificate": {func(c *dps.Client, n *simnet.Network) {
			c.Attestation = dps.X509{KeyPair: n.CA().Device("attic")}
		}, "leads to no enrollment group's authority"},
	} {
		for _, over := range []dps.Transport{dps.HTTPS, dps.MQTT} {
			t.Run(name+"/"+over.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := simnet.New()
					defer func() { require.NoError(t, n.Close()) }()
					events := new(simnet.EventLog)
					n.RecordEvents(events)
					service := dpstest.New(n, dpstest.Config{})
					service.Link(hubtest.NewHub(n, "hub-a.azure-devices.net"))
					require.NoError(t, service.Enroll(dpstest.IndividualEnrollment{
						RegistrationID: "kitchen", Attestation: dpstest.Keys(enrolled, ""),
					}))
					require.NoError(t, service.EnrollGroup(dpstest.EnrollmentGroup{
						EnrollmentGroupID: "cellars", Attestation: dpstest.Keys(group, ""),
					}))
					client := &dps.Client{
						IDScope: service.IDScope(), Transport: over, DialContext: n.DialContext,
						Attestation: dps.SymmetricKey{ID: "kitchen", Key: enrolled},
						TLSConfig:   n.TLSConfig(),
					}
					test.set(client, n)
					_, err := client.Register(t.Context(), dps.Registration{})
					failure, ok := errors.AsType[*dps.Error](err)
					require.True(t, ok, "%v", err)
					require.True(t, failure.Mismatched(), "%v", err)
					assert.NotContains(t, failure.Message, test.reason)

					requests := service.Requests()
					last := requests[len(requests)-1]
					assert.Equal(t, dpstest.Register, last.Op)
					assert.Contains(t, last.Reason, test.reason)
					seen, _ := events.Read(0, 100)
					assert.Equal(t, last.Reason, seen[len(seen)-1].Reason)
				})
			})
		}
	}
}

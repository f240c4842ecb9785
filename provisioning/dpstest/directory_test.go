// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestAProgramSeesAllThatOperatorsAndDevicesHaveMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.ForTest(t)
		a, b := hubtest.NewHub(n, "hub-a.net"), hubtest.NewHub(n, "hub-b.net")
		s := dpstest.New(n, dpstest.Config{})
		s.Link(b, a)
		require.NoError(t, s.SetWeight("hub-a.net", 7))
		assert.Equal(t, []dpstest.HubLink{
			{Host: "hub-b.net", Weight: 1}, {Host: "hub-a.net", Weight: 7},
		}, s.Links())

		require.NoError(t, s.EnrollGroup(dpstest.EnrollmentGroup{EnrollmentGroupID: "G"}))
		for _, id := range []string{"zoe", "Ada"} {
			require.NoError(t, s.Enroll(dpstest.IndividualEnrollment{
				RegistrationID: id, DeviceID: id + "-at-hub",
				AllocationPolicy: dpstest.PolicyStatic, IoTHubs: []string{"hub-a.net"},
			}))
		}
		require.Len(t, s.Groups(), 1)
		assert.NotEmpty(t, s.Groups()[0].Attestation.SymmetricKey.PrimaryKey)
		all := s.Enrollments()
		require.Len(t, all, 2)
		assert.Equal(t, "Ada", all[0].RegistrationID)
		assert.Nil(t, all[0].RegistrationState)
		assert.Empty(t, s.Placements())

		member, err := dps.DeriveDeviceKey(s.Groups()[0].Attestation.SymmetricKey.PrimaryKey, "m")
		require.NoError(t, err)
		for id, key := range map[string]string{
			"Ada": all[0].Attestation.SymmetricKey.PrimaryKey, "m": member,
		} {
			c := &dps.Client{
				IDScope: s.IDScope(), Attestation: dps.SymmetricKey{ID: id, Key: key},
				DialContext: n.DialContext, TLSConfig: n.TLSConfig(),
			}
			_, err := c.Register(t.Context(), dps.Registration{})
			require.NoError(t, err)
		}
		assert.NotNil(t, s.Enrollments()[0].RegistrationState)
		placed := s.Placements()
		require.Len(t, placed, 2)
		assert.Equal(t, "hub-a.net", placed[0].Hub)
		assert.Equal(t, "Ada-at-hub", placed[0].Device)
		assert.Empty(t, placed[0].GroupID)
		assert.Equal(t, "G", placed[1].GroupID)
		assert.Equal(t, dpstest.InitialAssignment, placed[1].Substatus)
	})
}

const someKey = "Y2FuYXJ5LWtleS1vZi1hLWtpdGNoZW4tMDAwMDAwMDE="

func TestTheRequestLogIsFollowedByPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.ForTest(t)
		s := dpstest.New(n, dpstest.Config{})
		s.Inject(dpstest.Fault{On: dpstest.Lookup, Status: 429, RetryAfter: "17"})
		lookup := func(id string) {
			c := &dps.Client{
				IDScope: s.IDScope(), Attestation: dps.SymmetricKey{ID: id, Key: someKey},
				DialContext: n.DialContext, TLSConfig: n.TLSConfig(),
			}
			_, err := c.Lookup(t.Context())
			require.Error(t, err)
		}
		ids := func(entries []dpstest.Request) (ids []string) {
			for _, r := range entries {
				ids = append(ids, r.RegistrationID)
			}
			return ids
		}
		entries, next := s.RequestsFrom(0)
		assert.Empty(t, entries)
		lookup("first")
		lookup("second")
		entries, next = s.RequestsFrom(next)
		assert.Equal(t, []string{"first", "second"}, ids(entries))
		assert.Equal(t, "17", entries[0].RetryAfter)
		assert.False(t, entries[0].Answered.Before(entries[0].Time))
		assert.Empty(t, entries[1].RetryAfter)

		lookup("third")
		entries, next = s.RequestsFrom(next)
		assert.Equal(t, []string{"third"}, ids(entries))
		entries, next = s.RequestsFrom(next)
		assert.Empty(t, entries)
		again, _ := s.RequestsFrom(next - 1)
		assert.Equal(t, []string{"third"}, ids(again))

		s.ResetLog()
		lookup("fourth")
		entries, _ = s.RequestsFrom(next)
		assert.Equal(t, []string{"fourth"}, ids(entries), fmt.Sprint("position ", next))
	})
}

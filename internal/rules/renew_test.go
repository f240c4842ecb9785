// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func TestRenewAsksTheHubAtOnce(t *testing.T) {
	s := certified(t)
	require.Equal(t, []string{"RenewCertificate"}, s.feed(Renew{}))
	require.Empty(t, s.feed(Renew{}), "one question serves everybody")
	require.Equal(t, []string{"ReplyRenewed"}, s.feed(Renewed{s.certificate()}))
	s.pass(time.Minute)
	require.Equal(t, []string{"RenewCertificate"}, s.feed(Renew{}), "without the gap")
	require.Equal(t, []string{"ReplyRenewalFailed"}, s.feed(RenewalFailed{}))
	require.Equal(t, []Action{ReplyRenewalFailed{}}, s.actions)
	require.Equal(t, 15*time.Hour+59*time.Minute, s.nextByHub(), "which the plan outlives")
}

func TestRenewRegistersWhereTheHubIsAwayOrUnable(t *testing.T) {
	s := certified(t)
	s.feed(Lost{})
	require.Equal(t, []string{"Register"}, s.feed(Renew{}))
	require.Equal(t, []Action{Register{Reason: ReasonRenewal}}, s.actions)
	require.Equal(t, []string{"ReplyRenewalFailed"},
		s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true}))
	require.Equal(t, ReasonOutage, s.state.DPS.Reason, "what was planned is, again")

	s = askedToRenew(t)
	s.feed(RenewalFailed{Unavailable: true})
	require.Equal(t, []string{"Register"}, s.feed(Renew{}))
	s.feed(Assigned{Assignment: assignedTo("a")})
	require.Contains(t, s.actions, ReplyRenewalFailed{})

	s = fresh(t)
	require.Empty(t, s.feed(Renew{}), "the registration under way brings one")
	require.Contains(t, s.feed(Assigned{Assignment: assignedTo("a"), Issued: true}), "ReplyRenewed")

	s = connected(t)
	require.Equal(t, []string{"RenewCertificate"}, s.feed(Renew{}), "it may have none yet")
}

func TestRenewKeepsWhatWasAskedFor(t *testing.T) {
	s := askedToRenew(t)
	s.feed(RenewalFailed{RetryAfter: time.Hour})
	require.Equal(t, []string{"Register"}, s.feed(Renew{}))
	s.feed(DPSFailed{Failure: DPSThrottled, RetryAfter: 2 * time.Hour})
	require.Equal(t, []string{"ReplyRenewalFailed"}, s.feed(Renew{}))
	require.Equal(t, []Action{ReplyRenewalFailed{NotBefore: s.now.Add(time.Hour)}}, s.actions)
	require.False(t, s.state.Renewal.Manual)

	s = askedToRenew(t)
	s.feed(RenewalFailed{})
	s.state.DPS.NotBefore = s.now.Add(time.Hour)
	s.feed(Renew{})
	require.Equal(t, []Action{ReplyRenewalFailed{NotBefore: s.now.Add(HubFloor)}}, s.actions)
	s.pass(HubFloor)
	require.Equal(t, []string{"RenewCertificate"}, s.feed(Renew{}))

	s = certified(t)
	s.feed(Lost{})
	s.state.DPS.NotBefore = s.now.Add(time.Hour)
	s.feed(Renew{})
	require.Equal(t, []Action{ReplyRenewalFailed{NotBefore: s.now.Add(time.Hour)}}, s.actions)
}

func TestRenewDiesWithWhoAsked(t *testing.T) {
	s := askedToRenew(t)
	s.feed(Renew{})
	s.feed(Resume{})
	require.False(t, s.state.Renewal.Manual)
	require.Greater(t, s.nextByHub(), 9*time.Minute)

	s = askedToRenew(t)
	s.feed(Renew{})
	require.Equal(t, []string{"CancelRenewal", "ReplyRenewalFailed"}, s.feed(Installed{}))

	s = askedToRenew(t)
	s.feed(RenewalFailed{Unavailable: true})
	s.pass(RenewalGap)
	s.feed(Progress{Operation: "op-1"})
	s.feed(Resume{})
	require.Equal(t, RenewalGap, s.nextByDPS())
	s.pass(RenewalGap)
	require.Equal(t, []Action{Register{Reason: ReasonRenewal, Operation: "op-1"}}, s.actions)
}

func TestAChangedCredentialIsToldToDPS(t *testing.T) {
	s := connected(t)
	require.Equal(t, []string{"Register"}, s.feed(CredentialChanged{}))
	require.Equal(t, []Action{Register{Reason: ReasonCredential}}, s.actions)
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.True(t, s.state.Connected)
	require.Equal(t, 7500*time.Millisecond, s.dpsIn(), "D's own back-off")
	s.feed(Stable{})
	s.waitDPS()
	s.feed(Reprovision{})
	require.Equal(t, []string{"ReplyFailed"}, s.feed(DPSFailed{Failure: DPSUnavailable}))
	s.waitDPS()
	require.NotContains(t, s.assigned("a"), "EndSession")
	s.asksNothing()

	drawn(t, 0, time.Hour, func(r Random) time.Duration {
		s := connected(t).staggered(time.Hour).draws(r)
		s.state.DPS.Phase = Idle
		state, _ := Apply(s.state, CredentialChanged{}, s.now, r)
		return state.DPS.At.Sub(s.now)
	})
}

func TestWhatWasAskedWithTheOldCredentialIsAskedAnew(t *testing.T) {
	s := fresh(t)
	s.feed(Progress{Operation: "op-1", RetryAfter: 3 * time.Second})
	require.Equal(t, []string{"CancelDPS"}, s.feed(CredentialChanged{}))
	require.Equal(t, 3*time.Second, s.dpsIn(), "DPS's wait is kept")
	s.waitDPS()
	require.Equal(t, []Action{Register{Reason: ReasonCredential}}, s.actions)

	s = fresh(t)
	s.feed(DPSFailed{Failure: DPSRefused})
	require.Equal(t, []string{"Register"}, s.feed(CredentialChanged{}), "a refusal is not")

	s = warm(t)
	s.rejected()
	s.feed(CredentialChanged{})
	s.feed(DPSFailed{Failure: DPSUnavailable})
	s.waitHub()
	s.feed(Connected{})
	require.Equal(t, ReasonCredential, s.state.DPS.Reason, "though the hub accepts")
	s.fails(retry.Unreachable)
	require.Equal(t, ReasonCredential, s.state.DPS.Reason)
}

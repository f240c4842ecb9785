// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// held says which tests fail where an attacker of docs/security.md can do what that page says they
// cannot.
var held = map[string][]runner{
	"reads the flash": {
		ci("secrets", "expected are lines"),
		goTest("provisioning/dps", "TestSymmetricKeyFingerprintFollowsTheKey"),
		goTest("provisioning/dps", "TestProtectedDataIsReadableByItsKeyAloneAndUnchanged"),
	},
	"writes the flash": {
		goTest("provisioning", "TestATamperedEntryNeverLeadsToAForeignHub"),
		goTest("provisioning", "TestEveryTruncationAndEveryFlippedBitIsAMiss"),
		goTest("provisioning", "TestStoredCertificatesWithoutTheDevicesSealAreNobodys"),
		goTest("internal/waits", "TestWhatCannotBeOursIsNotBelieved"),
	},
	"is on the network": {
		goTest("hubconn", "TestAHubOfAnOlderTLSVersionIsToldNothing"),
		goTest("internal/reliability", "TestABadCertificateIsToldNothing"),
		goTest("provisioning/dps", "TestRegisterTrustsNoOtherServer"),
		goTest("internal/https", "TestNothingIsSentToAServerThatDoesNotVerify"),
	},
	"is the proxy": {
		goTest("internal/dial", "TestTheProxyIsChosenBySchemeAndHostAndSeesNoMore"),
		goTest("provisioning/dps", "TestATrustedProxyThatAnswersForTheServiceIsAsNoAnswer"),
	},
	"has another hub, same suffix": {
		goTest("provisioning", "TestATamperedEntryNeverLeadsToAForeignHub"),
	},
	"has an old key or certificate": {
		goTest("provisioning", "TestBootWithARotatedKeyRegisters"),
		goTest("provisioning", "TestBootWithARenewedCertificateRegisters"),
	},
	"lies about the time once": {
		goTest("provisioning", "TestOneLieAboutTheTimeDoesNotTurnTheClockBack"),
		goTest("provisioning", "TestATimeBeforeTheBuildIsNotBelieved"),
	},
	"has the flash, not the TPM": {
		goTest("provisioning/tpm", "TestACopyOfTheStoreIsOfNoUseToAnotherTPM"),
	},
	"has the device's key": {
		goTest("provisioning/dps", "TestSymmetricKeySealHoldsForItsDataAndKeyOnly"),
		goTest("provisioning/dps", "TestRegisterWithDerivedKey"),
	},
	"uses the service side": {
		goTest("hubconn", "TestAFullInboxDropsWhatTheHubKeeps"),
		goTest("hubconn", "TestCallsWithoutRoomAreRefusedAndThenDropped"),
		goTest("hubconn", "TestAHandlerThatPanicsAnswers500AndTheDeviceLivesOn"),
	},
	"is root on the device": {
		goTest("provisioning/tpm", "TestNothingPrintsAKeyOrAPassword"),
		goTest("provisioning/tpm", "TestACopyOfTheStoreIsOfNoUseToAnotherTPM"),
	},
}

func TestWhatAnAttackerCannotDoIsHeldByTests(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(page), "| who | can | cannot |\n| --- | --- | --- |\n")
	require.True(t, ok, "the threat model has lost its table")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := map[string]bool{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		require.Len(t, cells, 3, line)
		who, cannot := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[2])
		rows[who] = true
		assert.Equal(t, cannot != "", len(held[who]) > 0, "who %s cannot %s: by which tests?",
			who, cannot)
	}
	script, err := os.ReadFile(filepath.Join(root, ".ci", "run"))
	require.NoError(t, err)
	for who, tests := range held {
		assert.True(t, rows[who], "the threat model has no row %q", who)
		for _, r := range tests {
			assert.True(t, r.exists(t, string(script)), "%s: %+v is there no more", who, r)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"fmt"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/retry"
)

// The package documentation is the contract that users read. Its figures are those of the code.
func TestTheDocumentationPrintsTheDelaysAndLimitsOfTheRules(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	require.NoError(t, err)
	printed := strings.Join(strings.Fields(file.Doc.Text()), " ")

	var gaps []string
	for _, gap := range rules.RejectionGaps[1:] {
		gaps = append(gaps, strconv.Itoa(int(gap.Minutes())))
	}
	var refusals []string
	for _, gap := range rules.RefusalGaps {
		refusals = append(refusals, strconv.Itoa(int(gap.Minutes())))
	}
	require.Equal(t, time.Minute, rules.UnknownSpread)
	d := rules.Defaults()
	throttled := (&hubconn.Error{Class: retry.Throttled}).RetryAfter()
	untrusted := (&hubconn.Error{Class: retry.Untrusted}).RetryAfter()
	require.Equal(t, rules.UntrustedFloor, untrusted, "one figure for a row of the table")
	require.Equal(t, d.Hub.MinDelay, d.DPS.MinDelay, "one first window in the formula")

	for _, want := range []string{
		fmt.Sprintf("min(cap, %s · %v^(n-1))", spoken(d.Hub.MinDelay), d.Hub.Multiplier),
		fmt.Sprintf("Retry-After on 429 and %s otherwise", spoken(d.Hub.MinDelay)),
		fmt.Sprintf("the cap %s for the hub and %s for DPS",
			spoken(d.Hub.MaxDelay), spoken(d.DPS.MaxDelay)),
		"none given: floor " + spoken(throttled),
		fmt.Sprintf("as server, floor %.0f s", untrusted.Seconds()),
		fmt.Sprintf("U(%v, %v) min", rules.OutageMin.Minutes(), rules.OutageMax.Minutes()),
		fmt.Sprintf("after %s min ± %.0f %%", strings.Join(gaps, ", "), 100*rules.GapSpread),
		fmt.Sprintf("D after %s ± %.0f %%", spoken(rules.DPSCap), 100*rules.GapSpread),
		fmt.Sprintf("a stable connection (%s or more", spoken(stableAfter)),
		"asked for again within " + spoken(rules.ClockValid),
		"never more than " + spoken(rules.OutageCap) + " apart",
		fmt.Sprintf("honoured for up to %s", spoken(retry.LongestHonoured)),
		fmt.Sprintf("Retry-After + U(min(t, %s), min(%d·max(t, %s), %s))",
			spoken(d.Throttled.Cap/2), d.Throttled.Factor, spoken(d.Throttled.Start),
			spoken(d.Throttled.Cap)),
		fmt.Sprintf("For %s without", spoken(rules.ThrottledOutage)),
		fmt.Sprintf("in %d tries over %s", rules.NameGoneTries, spoken(rules.NameGoneTime)),
		fmt.Sprintf("D after %s + U(0, %.0f %%)",
			spoken(rules.IncompatibleWait), 100*rules.IncompatibleSpread),
		fmt.Sprintf("that has %d quick tries", rules.LagRetries),
		fmt.Sprintf("gives way for U(%.0f, %.0f) s",
			rules.GiveWayMin.Seconds(), rules.GiveWayMax.Seconds()),
		"or " + spoken(rules.ClockPatience) + ". After " + strconv.Itoa(rules.MaxClockTries),
		"after " + strconv.Itoa(rules.MaxClockTriesElsewhere) + ", if it may register over",
		"no more than " + spoken(rules.ClockStagger),
		"follows its failure, or " + spoken(rules.BootGrace),
		"After " + strconv.Itoa(rules.MaxFailedLookups) + " that failed with an answer",
		fmt.Sprintf("never assigned after %s min", strings.Join(refusals, ", ")),
		fmt.Sprintf("spread over a %s", "minute"),
		"more than " + spoken(skewTolerance) + " off",
		fmt.Sprintf("ahead by more than %d days", longestSleep/(24*time.Hour)),
		"two answers that agree, " + spoken(secondAnswerAfter) + " or more apart",
		fmt.Sprintf("registers after %d failed lookups", rules.MaxSilentLookups),
		"for " + spoken(d.DPS.MinDelay) + " after a failed request",
		"the two has " + spoken(firstTryTimeout),
		"costs those " + spoken(firstTryTimeout) + " once a day",
		"first attempt after " + spoken(preferredAfter),
		"in " + strconv.Itoa(silentTries) + " attempts in a row",
	} {
		require.True(t, strings.Contains(printed, want), "doc.go does not say: %s", want)
	}
	ordinal := [...]string{"first", "second", "third", "fourth"}[rules.OutageLookups]
	require.Contains(t, printed, "from the "+ordinal)
}

// spoken is a duration as the documentation writes it: 30 s, 5 min, 1 h.
func spoken(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// SPDX-License-Identifier: Apache-2.0

package promdevice_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listed are the metrics of the page, each with its type and its labels.
func listed(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	row := regexp.MustCompile("(?m)^\\| `(rehome_[a-z_]+)` \\| ([a-z]+) \\| ([a-z, ]*?) ?\\|")
	rows := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		assert.NotContains(t, rows, m[1], "it is there twice")
		labels := strings.Split(m[3], ", ")
		slices.Sort(labels)
		rows[m[1]] = m[2] + " " + strings.Join(labels, ", ")
	}
	return rows
}

func TestThePageOfMetricsHasEachNameAndNoOther(t *testing.T) {
	there := map[string]string{}
	for _, f := range everything(t) {
		var labels []string
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains(labels, l.GetName()) {
					labels = append(labels, l.GetName())
				}
			}
		}
		slices.Sort(labels)
		kind := strings.ToLower(f.GetType().String())
		there[f.GetName()] = kind + " " + strings.Join(labels, ", ")
	}
	assert.Equal(t, there, listed(t))
}

// The words that labels have on the page are those that they really have.
func TestThePageOfMetricsHasEachWord(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	words := 0
	for _, f := range everything(t) {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				switch l.GetName() {
				case "kind", "operation", "outcome", "service", "direction", "credential",
					"trouble":
					words++
					if l.GetValue() != "" {
						assert.Contains(t, string(text), "`"+l.GetValue()+"`", l.GetName())
					}
				}
			}
		}
	}
	assert.Greater(t, words, 10)
}

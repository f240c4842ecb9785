// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/template"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/assert/yaml"
	"github.com/stretchr/testify/require"
)

// panel is what these tests read of a panel of Grafana.
type panel struct {
	ID          int
	Type, Title string
	Datasource  *struct{ Type, UID string }
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct {
		RefID      string
		Expr       string
		Datasource struct{ Type, UID string }
	}
}

type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type string
			Query      any
			Datasource *struct{ UID string }
		}
	}
	Panels []panel
}

const dashboardFile = "gateway.json"

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	require.NoError(t, err)
	require.NoError(t, json.NewDecoder(bytes.NewReader(text)).Decode(&d))
	return d
}

func TestTheDashboardCanBeImportedAnywhere(t *testing.T) {
	d := readDashboard(t)
	assert.Regexp(t, `^[a-z0-9-]{1,40}$`, d.UID)
	assert.NotEmpty(t, d.Title)
	assert.Positive(t, d.SchemaVersion)
	variables := map[string]bool{}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		if v.Type != "datasource" {
			assert.Equal(t, "${datasource}", v.Datasource.UID, v.Name)
		}
	}
	assert.Equal(t, "datasource", d.Templating.List[0].Type)
	assert.Equal(t, map[string]bool{"datasource": true, "job": true, "instance": true}, variables)

	ids, taken := map[int]string{}, map[[2]int]string{}
	for _, p := range d.Panels {
		assert.NotEmpty(t, p.Title)
		assert.Empty(t, ids[p.ID], "%s has the ID of another panel", p.Title)
		ids[p.ID] = p.Title
		g := p.GridPos
		assert.LessOrEqual(t, g.X+g.W, 24, p.Title)
		for y := g.Y; y < g.Y+g.H; y++ {
			for x := g.X; x < g.X+g.W; x++ {
				assert.Empty(t, taken[[2]int{x, y}], "%s overlaps another panel", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		assert.NotEmpty(t, p.Targets, p.Title)
		refs := map[string]bool{}
		for _, target := range p.Targets {
			assert.Equal(t, "${datasource}", p.Datasource.UID, p.Title)
			assert.Equal(t, "${datasource}", target.Datasource.UID, p.Title)
			assert.False(t, refs[target.RefID], p.Title)
			refs[target.RefID] = true
		}
	}
}

// asked returns what an expression reads: the metrics, with the labels that it names.
func asked(t *testing.T, expr string) map[string][]string {
	t.Helper()
	expr = strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h").Replace(expr)
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	require.NoError(t, err, expr)
	metrics := map[string][]string{}
	var grouping []string
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.AggregateExpr:
			grouping = append(grouping, n.Grouping...)
		case *parser.VectorSelector:
			labels := metrics[n.Name]
			for _, m := range n.LabelMatchers {
				if m.Name != "__name__" {
					labels = append(labels, m.Name)
				}
			}
			metrics[n.Name] = labels
		}
		return nil
	})
	for name := range metrics {
		metrics[name] = append(metrics[name], grouping...)
	}
	require.NotEmpty(t, metrics, expr)
	return metrics
}

// requireExposed wants all that an expression reads to be there.
func requireExposed(t *testing.T, there map[string]map[string]bool, expr string) {
	t.Helper()
	for name, labels := range asked(t, expr) {
		if !assert.Contains(t, there, name, expr) {
			continue
		}
		for _, l := range labels {
			assert.True(t, there[name][l], "%s has no label %s: %s", name, l, expr)
		}
	}
}

func TestTheDashboardAsksForWhatIsExposed(t *testing.T) {
	d, there, queries := readDashboard(t), exposed(t), 0
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			queries++
			requireExposed(t, there, target.Expr)
		}
	}
	assert.Greater(t, queries, 20)
	for _, v := range d.Templating.List {
		q, ok := v.Query.(map[string]any)
		if !ok {
			continue
		}
		of, label, ok := strings.Cut(strings.TrimSuffix(
			strings.TrimPrefix(q["query"].(string), "label_values("), ")"), ", ")
		require.True(t, ok, v.Name)
		requireExposed(t, there, of)
		assert.True(t, there["rehome_devices"][label], v.Name)
	}
}

func TestTheAlertsAskForWhatIsExposed(t *testing.T) {
	text, err := os.ReadFile("alerts.yaml")
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	require.Len(t, file.Groups, 1)
	there, names := exposed(t), map[string]bool{}
	require.Len(t, file.Groups[0].Rules, 6)
	for _, r := range file.Groups[0].Rules {
		assert.Regexp(t, `^Rehome[A-Za-z]+$`, r.Alert)
		assert.False(t, names[r.Alert], r.Alert)
		names[r.Alert] = true
		requireExposed(t, there, r.Expr)
		assert.Regexp(t, `^\d+[mh]$`, r.For, r.Alert)
		assert.Contains(t, []string{"warning", "critical"}, r.Labels["severity"], r.Alert)
		for _, text := range []string{r.Annotations["summary"], r.Annotations["description"]} {
			assert.NotEmpty(t, filled(t, text), r.Alert)
		}
	}
}

// filled is a text as Prometheus fills it in, by the names that it defines there.
// https://prometheus.io/docs/prometheus/latest/configuration/template_reference/
func filled(t *testing.T, text string) string {
	t.Helper()
	same := func(v float64) string { return fmt.Sprint(v) }
	parsed, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{
		"humanize": same, "humanizeDuration": same, "humanizePercentage": same,
	}).Parse("{{$labels := .Labels}}{{$value := .Value}}" + text)
	require.NoError(t, err, text)
	var b strings.Builder
	require.NoError(t, parsed.Execute(&b, map[string]any{
		"Value":  1.0,
		"Labels": map[string]string{"job": "gateway", "instance": "g1", "trouble": "refused"},
	}), text)
	return b.String()
}

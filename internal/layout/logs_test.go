// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// logging are the packages that write to the log of a device.
var logging = []string{
	"provisioning", "provisioning/fleet", "hubconn", "hubconn/outbox", "examples/thermostat",
	"examples/internal/settings",
}

// messageAt is which argument of a call is the message, by the name of what is called.
var messageAt = map[string]int{
	"Debug": 0, "Info": 0, "Warn": 0, "Error": 0, // of log/slog
	"LogAttrs": 2, "line": 1, "log": 1, "storeFailed": 0,
}

// composed are the messages that are not written where they are logged, by what stands there. A new
// one is added here, and its messages to the page.
var composed = map[string][]string{
	"c.stateMessage(&s, &before)": {
		"connected to HUB (from SOURCE)", "device STATE", "module STATE",
	},
	`c.name.kind() + " is not connected"`: {"device is not connected", "module is not connected"},
	"l.servedMessage()":                   {"message acknowledged", "request served"},
	// of problem.go
	"c.line(message)": {
		"DPS refuses the device", "the hub rejects the device", "the hub speaks another protocol",
	},
	"c.line(what)":       nil, // storeFailed, whose callers have the message
	"LogAttrs(message)":  nil, // what the other calls hand on
	"thermostat.Warn(w)": nil, // of the settings: the page says so
}

// logCall is one message, where it is logged, and at which level, if that is written there.
type logCall struct{ message, where, level string }

func TestThePageOfLogsHasEachMessageAndNoOther(t *testing.T) {
	written := map[string]logCall{}
	for _, dir := range logging {
		calls := logCalls(t, filepath.Join(root, dir))
		require.NotEmpty(t, calls, dir)
		for _, c := range calls {
			written[c.message] = c
		}
	}
	listed := map[string]bool{}
	row := regexp.MustCompile("^\\| `([^`]+)` \\| (DEBUG|INFO|WARN|ERROR) \\|")
	for _, page := range documents(t) {
		if page.name != "docs/logs.md" {
			continue
		}
		for i, line := range page.lines {
			if m := row.FindStringSubmatch(line); m != nil {
				assert.False(t, listed[m[1]], "docs/logs.md:%d: %q is there twice", i+1, m[1])
				listed[m[1]] = true
				c, ok := written[m[1]]
				assert.True(t, ok, "docs/logs.md:%d: no code writes %q", i+1, m[1])
				if c.level != "" {
					assert.Equal(t, c.level, m[2], "docs/logs.md:%d: the level of %q", i+1, m[1])
				}
			}
		}
	}
	for message, c := range written {
		assert.True(t, listed[message], "%s: docs/logs.md lacks the message %q", c.where, message)
	}
}

// logCalls are the messages that a package logs.
func logCalls(t *testing.T, dir string) (calls []logCall) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	set := token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			at, logs := messageAt[method.Sel.Name]
			if !logs || len(call.Args) <= at || !isLog(method) {
				return true
			}
			where := set.Position(call.Pos()).String()
			for _, m := range messages(t, set, method, call.Args[at], where) {
				calls = append(calls, logCall{m, where, levelOf(method.Sel.Name, call)})
			}
			return true
		})
	}
	return calls
}

// levelOf is the level of a call, "" where it is not written in it.
func levelOf(method string, call *ast.CallExpr) string {
	switch method {
	case "Debug", "Info", "Warn", "Error":
		return strings.ToUpper(method)
	case "storeFailed":
		return "WARN"
	case "line", "log":
		level, ok := strings.CutPrefix(text(token.NewFileSet(), call.Args[0]), "slog.Level")
		if ok {
			return strings.ToUpper(level)
		}
	}
	return ""
}

// isLog tells a logger's method from others of the same name.
func isLog(method *ast.SelectorExpr) bool {
	switch method.Sel.Name {
	case "Debug", "Info", "Warn", "Error":
		of := text(token.NewFileSet(), method.X)
		return of == "log" || strings.HasSuffix(of, ".log") || strings.HasSuffix(of, "Logger")
	}
	return true
}

// messages are those that an argument stands for.
func messages(
	t *testing.T, set *token.FileSet, method *ast.SelectorExpr, arg ast.Expr, where string,
) []string {
	t.Helper()
	if literal, ok := arg.(*ast.BasicLit); ok && literal.Kind == token.STRING {
		message, err := strconv.Unquote(literal.Value)
		require.NoError(t, err)
		return []string{message}
	}
	written := text(set, arg)
	for _, form := range []string{
		written, "c." + method.Sel.Name + "(" + written + ")",
		method.Sel.Name + "(" + written + ")",
		"thermostat." + method.Sel.Name + "(" + written + ")",
	} {
		if found, ok := composed[form]; ok {
			return found
		}
	}
	t.Errorf("%s: the message %s is composed: add what it can be to this test", where, written)
	return nil
}

func text(set *token.FileSet, n ast.Node) string {
	var b strings.Builder
	_ = printer.Fprint(&b, set, n)
	return b.String()
}

// The proof that the test above can fail.
func TestLogCallsAreFound(t *testing.T) {
	var found []string
	for _, c := range logCalls(t, filepath.Join(root, "provisioning")) {
		found = append(found, c.message)
	}
	for _, message := range []string{
		"transport switched", "assignment not stored", "device is not connected",
		"message acknowledged", "DPS refuses the device",
	} {
		assert.True(t, slices.Contains(found, message), message)
	}
}

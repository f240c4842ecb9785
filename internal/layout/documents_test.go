// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A document is a page of Markdown, as far as these tests read it.
type document struct {
	name   string // within the project, with slashes
	size   int
	lines  []string
	prose  string // what is not in fenced blocks, with the code spans blanked out
	blocks []block
	spans  []span
	slugs  []string // of its headings, as links name them
}

// A block is fenced code.
type block struct {
	line     int // of the fence, from 1
	language string
	text     string
	heading  string // slug of the heading above
	notRun   string // the reason of the marker before it
}

// A span is code within a sentence or a table.
type span struct {
	line   int
	text   string
	notRun string
}

var (
	fence     = regexp.MustCompile("^( *)```([a-z]*)$")
	code      = regexp.MustCompile("`[^`]+`")
	heading   = regexp.MustCompile(`^#+ (.*)$`)
	notRun    = regexp.MustCompile(`^ *<!-- not run: (.+) -->$`)
	languages = []string{"go", "sh", "json", "ini", "text", "mermaid"}
)

// documents are all pages of the project.
func documents(t *testing.T) []document {
	t.Helper()
	var pages []document
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{".git", "node_modules", "testdata"}, entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		pages = append(pages, parse(filepath.ToSlash(name), string(text)))
		return err
	})
	require.NoError(t, err)
	names := []string{}
	for _, page := range pages {
		names = append(names, page.name)
	}
	for _, name := range []string{
		"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md",
		"docs/guide.md", "docs/rules.md", "docs/security.md", "docs/simulator.md",
		"docs/testing.md",
		"examples/simulator/README.md", "examples/thermostat/README.md",
	} {
		require.Contains(t, names, name)
	}
	return pages
}

func parse(name, text string) document {
	page := document{name: name, size: len(text), lines: strings.Split(text, "\n")}
	var open *block
	var indent, reason, slug string
	prose := []string{}
	for i, line := range page.lines {
		mark := fence.FindStringSubmatch(line)
		switch {
		case open != nil && mark != nil:
			page.blocks = append(page.blocks, *open)
			open, reason = nil, ""
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		case mark != nil:
			indent = mark[1]
			open = &block{line: i + 1, language: mark[2], heading: slug, notRun: reason}
		case notRun.MatchString(line):
			reason = notRun.FindStringSubmatch(line)[1]
		case strings.TrimSpace(line) == "":
			reason = "" // the marker is of the block or paragraph right after it
			prose = append(prose, "")
		default:
			if h := heading.FindStringSubmatch(line); h != nil {
				slug = slugOf(h[1])
				page.slugs = append(page.slugs, slug)
			}
			for _, s := range code.FindAllString(line, -1) {
				page.spans = append(
					page.spans, span{line: i + 1, text: strings.Trim(s, "`"), notRun: reason},
				)
			}
			prose = append(prose, code.ReplaceAllString(line, "code"))
		}
	}
	page.prose = strings.Join(prose, "\n")
	return page
}

// slugOf is how GitHub names a heading in a link.
func slugOf(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

const (
	readmeSize = 12 << 10 // two screens, and a picture
	tableWidth = 85       // columns: what a terminal and a split window show unbroken
	lineWidth  = 100
)

func TestReadmeFitsTwoScreens(t *testing.T) {
	for _, page := range documents(t) {
		if page.name == "README.md" {
			assert.LessOrEqual(t, page.size, readmeSize)
		}
	}
}

// logged is a line of a log, or of what follows where one is broken: as long as it is.
var logged = regexp.MustCompile(`^ *[a-zA-Z_]+=`)

// Tables are those of Markdown and those that programs print.
func TestTablesAndLinesFitAWindow(t *testing.T) {
	for _, page := range documents(t) {
		for i, line := range page.lines {
			width := utf8.RuneCountInString(line)
			if strings.HasPrefix(strings.TrimSpace(line), "|") {
				assert.LessOrEqual(t, width, tableWidth, "%s:%d", page.name, i+1)
			} else if !strings.HasPrefix(strings.TrimSpace(line), "msg=") {
				assert.LessOrEqual(t, width, lineWidth, "%s:%d", page.name, i+1)
			}
		}
		for _, b := range page.blocks {
			for i, line := range strings.Split(b.text, "\n") {
				if b.language == "text" && !logged.MatchString(line) {
					assert.LessOrEqual(
						t, utf8.RuneCountInString(line), tableWidth, "%s:%d", page.name,
						b.line+1+i,
					)
				}
			}
		}
	}
}

func TestEachPageBeginsWithItsTitle(t *testing.T) {
	for _, page := range documents(t) {
		if !strings.HasPrefix(page.name, ".github/") { // what a forge puts into an empty field
			assert.Regexp(t, `^# \S`, page.lines[0], page.name)
		}
	}
}

func TestEveryBlockNamesItsLanguage(t *testing.T) {
	for _, page := range documents(t) {
		for _, b := range page.blocks {
			assert.Contains(t, languages, b.language, "%s:%d", page.name, b.line)
			if b.language == "mermaid" {
				kind, _, _ := strings.Cut(b.text, "\n")
				assert.Contains(
					t, []string{"flowchart TD", "sequenceDiagram"}, kind, "%s:%d", page.name,
					b.line,
				)
			}
		}
		fences := 0
		for _, line := range page.lines {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				fences++
			}
		}
		assert.Equal(
			t, 2*len(page.blocks), fences, "%s has a fence that these tests do not read", page.name,
		)
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]*)\)`)

func TestLinksWithinTheProjectLeadSomewhere(t *testing.T) {
	slugs := map[string][]string{}
	pages := documents(t)
	for _, page := range pages {
		slugs[page.name] = page.slugs
	}
	checked := 0
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(page.prose, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			checked++
			path, anchor, anchored := strings.Cut(m[1], "#")
			target := page.name
			if path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page.name), path))
				_, err := os.Stat(filepath.Join(root, target))
				assert.NoError(t, err, "%s: %s", page.name, m[1])
			}
			if anchored {
				assert.Contains(t, slugs[target], anchor, "%s: %s", page.name, m[1])
			}
		}
	}
	assert.Greater(t, checked, 10, "this test looks for links in the wrong way")
}

// The plan in CONTRIBUTING.md names every package that there is.
func TestContributorsFindEveryPackageInTheLayout(t *testing.T) {
	plan := ""
	for _, page := range documents(t) {
		for _, b := range page.blocks {
			if page.name == "CONTRIBUTING.md" && b.heading == "layout" {
				plan += b.text
			}
		}
	}
	for _, p := range goList(t, "./...") {
		name := filepath.Base(p.Dir) + "/"
		if p.ImportPath == module {
			name = "doc.go"
		}
		assert.Contains(t, plan, name, p.ImportPath)
	}
}

// Package layout holds the project to its own ground plan. It has tests alone: which package may import which, what a device binary is linked
// from, what the exported API may show, which files stand at the top level, and whether the documents hold: their programs compile, their
// commands are run by somebody, their links lead somewhere, and their tables fit a window.
//
// A change of plan is a change of the tables in these tests, made on purpose and seen in review.
//
//	go test ./internal/layout
//
// It is not a linter: how code reads is the business of gofmt, go vet and staticcheck.
package layout

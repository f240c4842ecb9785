// SPDX-License-Identifier: Apache-2.0

// Package layout holds the project to its own ground plan. It has tests alone: which package may
// import which, what a device binary is linked from, that the decision is pure, what the exported
// API may show, which files stand at the top level, how many files the device packages have and how
// long these are, how wide a line is, and whether the documents hold: their programs compile, their
// commands are run by somebody, their links lead somewhere, and their tables fit a window.
//
// A change of plan is a change of the tables in these tests, made on purpose and seen in review.
//
//	go test ./internal/layout
//
// It is not a linter: how code reads beyond its measures is the business of gofmt, go vet and
// staticcheck.
package layout

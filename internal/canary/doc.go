// SPDX-License-Identifier: Apache-2.0

// Command canary looks for secrets in what programs and tests have printed.
//
// Keys in this project's tests are made of texts that begin with "canary" and a hyphen. So a key
// that reaches a log line, an error or a %v is recognised there, in whichever form it was printed:
// as it is, in base64 at any alignment, in base64 of base64, in hexadecimal, or as the numbers of a
// byte slice. Other keys written in the sources are collected from there. Signatures, SAS tokens,
// PEM private keys and very long numbers (a printed private key) are recognised by their shape.
//
//	go test -v ./... >output 2>&1
//	go run ./internal/canary -keys provisioning -expect '^ok .*/provisioning' output
//
// It prints a line for each find and exits with status 1 if there was one. A search through
// nothing, or for nothing, finds nothing: each file must have content, each -keys directory a key,
// and each -expect (a regular expression) must match a line of some file, or the status is 2.
//
// It is not a secret scanner for source code: the sources are where the canaries live.
package main

// SPDX-License-Identifier: Apache-2.0

// Command ci carries out the steps of .ci/run that are more than one command:
//
//	race      every test under the race detector, in another order each time
//	commands  the README's two commands, exactly as they are printed there
//	official  clients that others wrote against the simulators: Node's, plain ones
//	repeat    the tests of provisioning.Device again and again
//	gosec     static analysis for security; what it finds is mended or argued
//	vuln      known vulnerabilities in what is called
//	secrets   no key and no token in anything that tests and programs print
//	fuzz      every fuzz target for a few seconds
//	cross     builds and tests for other systems, and the size of a device binary
//	package   what a release consists of, looked into
//	sbom      what is linked into the programs of a release, into bin
//	reproduce two builds of one commit are the same
//	bench     the benchmarks of docs/benchmarks.md; with BENCHTIME set, its figures
//
// It runs in the module's root, and keeps logs and binaries in the directory of -out, where a later
// step finds what an earlier one has made:
//
//	go run ./internal/ci -out /tmp/rehome-ci race secrets
//
// The order of the steps, and those that are one command, are in .ci/run. One of these, mutate, is
// carried out by a program of its own, in internal/tools, and only if asked for.
package main

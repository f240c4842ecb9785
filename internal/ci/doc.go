// Command ci carries out the steps of .ci/run that are more than one command:
//
//	race      every test under the race detector, in another order each time
//	commands  the README's two commands, exactly as they are printed there
//	official  the service's official Node clients against the simulators
//	repeat    the tests of provisioning.Device again and again
//	secrets   no key and no token in anything that tests and programs print
//	fuzz      every fuzz target for a few seconds
//	cross     builds and tests for other systems, and the size of a device binary
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

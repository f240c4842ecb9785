// Package officialclients drives the service's official Node clients, unmodified, against the
// simulators: what a client accepts that somebody else wrote for the real service says more than
// two halves of one project that agree with each other.
//
// Its tests run in a network namespace of their own, where the real names of DPS and of hubs lead
// to 127.0.0.1, with ports 443 and 8883 as the real ones: the clients have no settings for other
// ports. They need Linux, Node, swtpm (for the client of TPMs) and the clients:
//
//	npm ci --ignore-scripts --prefix internal/officialclients/testdata
//
// Where one of these is missing the tests are skipped, and go test says "[no tests to run]"; with
// REHOME_OFFICIAL_CLIENTS=required they fail instead.
package officialclients

package dpstest

import "slices"

// API versions are dates, so their order is the order of the strings.
const (
	versionSticky        = "2018-04-01" // the last one under which devices without a policy stay on their hub
	versionPayload       = "2019-03-31" // the first one with a payload
	versionReprovisioned = "2019-04-15" // the first one that tells a repeated assignment from the initial one
)

var versions = []string{
	"2017-11-15", "2018-04-01", "2018-09-01-preview", "2018-11-01", "2019-03-31", "2019-04-15",
	"2021-06-01", "2021-10-01", "2021-11-01-preview", "2025-07-01-preview",
}

func knownVersion(v string) bool { return slices.Contains(versions, v) }

// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package officialclients

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	missing = "this system has no network namespaces"
	os.Exit(withoutClients(m))
}

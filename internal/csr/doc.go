// SPDX-License-Identifier: Apache-2.0

// Package csr makes certificate signing requests as devices send them, and reads the chains that
// are issued for them, for tests of the simulators that issue.
package csr

// SPDX-License-Identifier: Apache-2.0

// Package measuretest plays a device's life against the simulators, for tests of what the modules
// that export metrics say of it: each of them has to say the same as the simulators have seen.
package measuretest

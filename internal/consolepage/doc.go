// SPDX-License-Identifier: Apache-2.0

// Package consolepage has no code of its own. Its tests use the simulator's console as a person
// does, in a real browser without a window, with real devices on the other side: Debian's Chromium,
// driven by npm's playwright-core. They run with REHOME_CONSOLE=required alone, since they wait for
// devices for minutes, and a missing browser is a failure then.
package consolepage

// Package consolepage has no code of its own. Its tests use the simulator's console as a person
// does, in a real browser without a window, with real devices on the other side: Debian's Chromium,
// driven by npm's playwright-core. REHOME_CONSOLE=required makes a missing browser a failure.
package consolepage

// SPDX-License-Identifier: Apache-2.0

// Package swtpm starts a TPM 2.0 in software for a test: swtpm, by the authors of libtpms (Debian:
// swtpm). Where it is not installed the test is skipped, loudly; with REHOME_TPM=required in the
// environment, as in CI, it fails instead.
package swtpm

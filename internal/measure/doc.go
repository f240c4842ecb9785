// SPDX-License-Identifier: Apache-2.0

// Package measure puts what a provisioning.Trace and a provisioning.Status tell of many devices in
// the terms of metrics: outcomes of a short list of words, numbers of all devices together, and
// times. The modules that export metrics share it, so that they say the same; no device's program
// has it unless it uses one of them.
package measure

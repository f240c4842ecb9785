// SPDX-License-Identifier: Apache-2.0

// Package boottime tells how long a machine has been running, asleep or not, by a clock that nobody
// sets, and which run of the machine it is: what is stored with a moment in one process has an age
// in another. Where the machine shows no such clock there is no telling, which is no error.
package boottime

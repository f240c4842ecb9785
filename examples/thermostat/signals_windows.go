// SPDX-License-Identifier: Apache-2.0

package main

import "os"

// hangup is empty: Windows has no such signal. Restarting the program after removing the store
// reprovisions it.
var hangup []os.Signal

// brokenPipe is empty: a write fails, and no more.
var brokenPipe []os.Signal

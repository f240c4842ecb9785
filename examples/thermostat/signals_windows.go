package main

import "os"

// hangup is empty: Windows has no such signal. Restarting the program after removing the store
// reprovisions it.
var hangup []os.Signal

// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// Version is what the build recorded: a tag, or a commit's time and hash.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// PrintVersion prints a program's name and version, and what it was built with and for.
func PrintVersion(w io.Writer, program string) {
	fmt.Fprintf(w, "%s %s %s %s/%s\n",
		program, Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

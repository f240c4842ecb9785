package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// version is what the build recorded: a tag, or a commit's time and hash.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func printVersion(w io.Writer) {
	fmt.Fprintf(
		w, "thermostat %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH,
	)
}

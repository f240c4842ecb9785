// SPDX-License-Identifier: Apache-2.0

package smalldisk

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// inNamespace names the test that runs in a process which may mount file systems.
const inNamespace = "REHOME_TEST_NAMESPACE"

// Mounted runs the rest of a test in a process that may mount file systems, and returns a directory
// there on one of a size, such as "1m". Where it is not ok, the caller returns: it is the process
// that has waited for the other.
func Mounted(t *testing.T, size string) (dir string, ok bool) {
	t.Helper()
	if os.Getenv(inNamespace) == t.Name() {
		dir = t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
		return dir, true
	}
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	command.Env = append(os.Environ(), inNamespace+"="+t.Name())
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := command.CombinedOutput()
	if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
		t.Skipf("no namespace to mount in: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return "", false
}

// Remount mounts the file system at dir anew, with flags and options.
func Remount(t *testing.T, dir string, flags uintptr, options string) {
	t.Helper()
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, options); err != nil {
		t.Fatal(err)
	}
}

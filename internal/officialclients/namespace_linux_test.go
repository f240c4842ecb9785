// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

const insideEnv = "REHOME_OFFICIAL_CLIENTS_INSIDE" // set in the process that runs the tests

// TestMain runs the tests in a child of this process that has a network and a file of host names of
// its own.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		if err := furnish(); err != nil {
			missing = err.Error()
			os.Exit(withoutClients(m))
		}
		os.Exit(m.Run())
	}
	if missing = lacking(); missing != "" {
		os.Exit(withoutClients(m))
	}
	code, err := enter()
	if err != nil {
		missing = "no network namespace of its own: " + err.Error()
		os.Exit(withoutClients(m))
	}
	os.Exit(code)
}

// enter runs this program again in new namespaces, as root or, where the kernel lets everybody, as
// root of a user namespace.
func enter() (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	hosts, err := os.CreateTemp("", "hosts")
	if err != nil {
		return 0, err
	}
	defer os.Remove(hosts.Name())
	defer hosts.Close()
	if _, err := fmt.Fprintf(
		hosts, "127.0.0.1 localhost %s\n::1 localhost\n", strings.Join(names, " "),
	); err != nil {
		return 0, err
	}
	// The tests wait for most of their time: more of them than processors go on at once.
	cmd := exec.Command(self, append(os.Args[1:], "-test.parallel=32")...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"="+hosts.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{
			{ContainerID: 0, HostID: os.Getuid(), Size: 1},
		}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{
			{ContainerID: 0, HostID: os.Getgid(), Size: 1},
		}
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// furnish puts up what a namespace starts without: a loopback interface that is up, and host names.
func furnish() error {
	// Nothing that is mounted here may be seen outside.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts cannot be made private: %w", err)
	}
	if err := syscall.Mount(
		os.Getenv(insideEnv), "/etc/hosts", "", syscall.MS_BIND, "",
	); err != nil {
		return fmt.Errorf("/etc/hosts cannot be covered: %w", err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	request := struct { // struct ifreq
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{flags: syscall.IFF_UP | syscall.IFF_RUNNING}
	copy(request.name[:], "lo")
	if _, _, errno := syscall.Syscall(
		syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request)),
	); errno != 0 {
		return fmt.Errorf("the loopback interface cannot be put up: %w", errno)
	}
	return nil
}

// lacking says what the tests need and is not there, "" for nothing.
func lacking() string {
	if _, err := exec.LookPath("node"); err != nil {
		return "Node is not installed"
	}
	if _, err := os.Stat(
		filepath.Join("testdata", "node_modules", "azure-iot-device"),
	); err != nil {
		return "the official clients are not installed: npm ci --ignore-scripts --prefix " +
			"internal/officialclients/testdata"
	}
	return ""
}

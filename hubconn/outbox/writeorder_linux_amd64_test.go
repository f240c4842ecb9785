// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// What linux/seccomp.h and linux/filter.h name so.
const (
	sysSeccomp         = 317
	setModeFilter      = 1
	flagNewListener    = 1 << 3
	retUserNotify      = 0x7fc00000
	retAllow           = 0x7fff0000
	notifyReceive      = 0xc0502100
	notifySend         = 0xc0182101
	flagContinue       = 1
	setNoNewPrivileges = 38
	bpfLoadWord        = 0x20
	bpfJumpIfEqual     = 0x15
	bpfReturn          = 0x06
)

type bpfInstruction struct {
	code uint16
	_    uint8 // how many instructions a jump leaves out if it is true
	jf   uint8 // and if it is not
	k    uint32
}

type bpfProgram struct {
	length uint16
	filter *bpfInstruction
}

// notification is a system call that waits for the listener's word.
type notification struct {
	id         uint64
	pid, flags uint32
	number     int32
	arch       uint32
	pointer    uint64
	args       [6]uint64
}

type notificationResponse struct {
	id    uint64
	value int64
	err   int32
	flags uint32
}

// Not write, by which the Go runtime wakes threads while it holds locks.
var watched = map[int32]string{
	syscall.SYS_PWRITE64: "pwrite", syscall.SYS_FDATASYNC: "fdatasync", syscall.SYS_FSYNC: "fsync",
	syscall.SYS_FTRUNCATE: "ftruncate", syscall.SYS_FALLOCATE: "fallocate",
	syscall.SYS_MSYNC: "msync", syscall.SYS_PWRITEV: "pwritev",
}

// watch has the kernel stop the calling thread at each system call that changes a file, until
// someone has taken note of it. The thread must be locked, and end with its goroutine.
func watch() (listener uintptr, err error) {
	program := []bpfInstruction{{code: bpfLoadWord}} // the number of the call
	for number := range watched {
		program = append(
			program, bpfInstruction{code: bpfJumpIfEqual, jf: 1, k: uint32(number)},
			bpfInstruction{code: bpfReturn, k: retUserNotify},
		)
	}
	program = append(program, bpfInstruction{code: bpfReturn, k: retAllow})
	if _, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, setNoNewPrivileges, 1, 0); e != 0 {
		return 0, e
	}
	filter := bpfProgram{uint16(len(program)), &program[0]}
	listener, _, e := syscall.RawSyscall(
		sysSeccomp, setModeFilter, flagNewListener, uintptr(unsafe.Pointer(&filter)),
	)
	runtime.KeepAlive(program)
	if e != 0 {
		return 0, e
	}
	return listener, nil
}

// note takes note of system calls, and lets them go on, until one is for no file.
func note(listener uintptr, call func(name string, args [6]uint64)) error {
	for {
		var n notification
		if _, _, e := syscall.Syscall(
			syscall.SYS_IOCTL, listener, notifyReceive, uintptr(unsafe.Pointer(&n)),
		); e == syscall.EINTR || e == syscall.ENOENT {
			continue // a signal, after which the call is made again
		} else if e != 0 {
			return e
		}
		r := notificationResponse{id: n.id, flags: flagContinue}
		if _, _, e := syscall.Syscall(
			syscall.SYS_IOCTL, listener, notifySend, uintptr(unsafe.Pointer(&r)),
		); e == syscall.ENOENT {
			continue
		} else if e != 0 {
			return e
		}
		if int32(n.args[0]) < 0 {
			return nil
		}
		call(watched[n.number], n.args)
	}
}

// The enumeration of crash states takes for granted in which order a commit writes. Here it is
// watched doing so: pages that are no meta page, a sync, one meta page, a sync, and nothing else.
func TestACommitWritesInTheOrderThatTheCrashStatesTakeForGranted(t *testing.T) {
	path := tempFile(t)
	f := open(t, path, quickly)
	send(t, boxOf(t, f), 0, 1)
	require.NoError(t, f.Close())

	var calls []string
	page := uint64(os.Getpagesize())
	commits := 0
	skipped := make(chan string, 1)
	listeners := make(chan uintptr, 1)
	ended := make(chan error, 1)
	var fd int
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		defer close(listeners)
		db, err := bolt.Open(path, 0o600, &bolt.Options{
			OpenFile: func(path string, flag int, perm fs.FileMode) (*os.File, error) {
				file, err := os.OpenFile(path, flag, perm)
				fd = int(file.Fd())
				return file, err
			},
		})
		if err != nil {
			ended <- err
			return
		}
		defer db.Close()
		f := &File{path: path, boxes: map[string]*Outbox{}, ended: map[*Outbox]struct{}{}}
		f.options, _ = quickly.check(path)
		f.ages = newAges(f.options.Now, nil)
		f.db.db = db
		box, err := f.Outbox(device)
		if err != nil {
			ended <- err
			return
		}
		listener, err := watch()
		if err != nil {
			skipped <- err.Error()
			return
		}
		listeners <- listener
		for i := range 30 {
			var p *put
			if p, err = box.newPut(telemetry, messagesOf([]int{i, i, i}, 500*i)); err != nil {
				break
			}
			f.pending = append(f.pending, p)
			b := f.take()
			if err = f.commit(b); err != nil {
				break
			}
			f.conclude(b, nil)
			commits++
		}
		_ = syscall.Fsync(-1) // the end
		ended <- err
	}()
	listener, ok := <-listeners
	if !ok {
		select {
		case why := <-skipped:
			t.Skip("the kernel does not let a process watch itself: " + why)
		case err := <-ended:
			require.NoError(t, err)
		}
	}
	require.NoError(t, note(listener, func(name string, args [6]uint64) {
		if int(int32(args[0])) != fd {
			return
		}
		if name == "pwrite" {
			switch offset := args[3]; {
			case offset >= 2*page:
				name = "data"
			case args[2] <= page:
				name = "meta"
			default:
				name = fmt.Sprint("pwrite at ", offset)
			}
		}
		calls = append(calls, name)
	}))
	require.NoError(t, <-ended)
	require.NoError(t, syscall.Close(int(listener)))

	require.Equal(t, 30, commits)
	var growths, seen int
	for at := 0; at < len(calls); seen++ {
		next := func() string {
			if at < len(calls) {
				at++
				return calls[at-1]
			}
			return "nothing"
		}
		begin := at
		call := next()
		for call == "ftruncate" { // the file grows first
			require.Equal(t, "fsync", next(), "%v", calls[begin:at])
			call = next()
			growths++
		}
		for data := 0; call == "data"; data++ {
			call = next()
		}
		require.Equal(
			t, []string{"fdatasync", "meta", "fdatasync"}, []string{call, next(), next()},
			"%s", strings.Join(calls[begin:at], " "),
		)
	}
	assert.Equal(t, 30, seen)
	assert.NotZero(t, growths)
	t.Logf("%d commits, %d growths of the file, %d system calls", seen, growths, len(calls))
}

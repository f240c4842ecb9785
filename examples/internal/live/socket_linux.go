// SPDX-License-Identifier: Apache-2.0

package live

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// socketPrefix begins with @, which Go reads as the abstract name space: see unix(7).
const socketPrefix = "@rehome/"

func listen(at *net.UnixAddr) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", at)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, errTaken
	}
	return l, err
}

// Service users that systemd makes up: https://systemd.io/UIDS-GIDS/.
const dynamicMin, dynamicMax = 61184, 65519

// trusted says that the other side is a process of this user or of root. An abstract name belongs
// to nobody. To root it may also be the owner of the store, which is not empty then, or a service
// with DynamicUser=: newer versions of systemd show root its directory as that of nobody.
func trusted(c *net.UnixConn, store string) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var peer *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		peer, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil || failed != nil {
		return false
	}
	me := os.Geteuid()
	if peer.Uid == 0 || int(peer.Uid) == me {
		return true
	}
	if store == "" || me != 0 {
		return false
	}
	var dir syscall.Stat_t
	return peer.Uid >= dynamicMin && peer.Uid <= dynamicMax ||
		syscall.Stat(store, &dir) == nil && dir.Uid == peer.Uid
}

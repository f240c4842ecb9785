// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import "syscall"

// apart has a process in a group of its own.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// SPDX-License-Identifier: Apache-2.0

package swtpm

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Bridge speaks the protocol of Microsoft's TPM simulator and hands the commands in it to the TPM,
// for any number of users; they see each other's keys, as those of /dev/tpm0 do. Commands are taken
// at the port of the address it returns, and the platform's signals at the next. Port 0 is any pair
// that is free. (TPM 2.0 reference implementation, TcpServer.c; ms-tpm-20-ref's
// "TpmTcpProtocol.h".)
func Bridge(t testing.TB, m *TPM, port int) (address string) {
	t.Helper()
	tpm, err := net.Dial("unix", m.Socket)
	if err != nil {
		t.Fatal(err)
	}
	commands, platform, err := neighbors(port)
	if err != nil {
		_ = tpm.Close()
		t.Fatal(err)
	}
	b := &bridge{t: t, tpm: tpm, open: map[net.Conn]bool{}}
	b.group.Go(func() { b.serve(commands, b.commands) })
	b.group.Go(func() { b.serve(platform, b.signals) })
	t.Cleanup(func() {
		_, _, _ = commands.Close(), platform.Close(), b.end()
		b.group.Wait()
		_ = tpm.Close()
	})
	return commands.Addr().String()
}

// neighbors listens on a port and the next.
func neighbors(port int) (one, two net.Listener, err error) {
	for range 100 {
		one, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return nil, nil, err
		}
		next := one.Addr().(*net.TCPAddr).Port + 1
		if two, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(next)); err == nil {
			return one, two, nil
		}
		_ = one.Close()
	}
	return nil, nil, err
}

type bridge struct {
	t     testing.TB
	group sync.WaitGroup
	mu    sync.Mutex // of the TPM, which takes one command after the other
	tpm   net.Conn
	all   sync.Mutex
	open  map[net.Conn]bool
	ended bool
}

func (b *bridge) end() error {
	b.all.Lock()
	defer b.all.Unlock()
	b.ended = true
	for nc := range b.open {
		_ = nc.Close()
	}
	return nil
}

func (b *bridge) serve(l net.Listener, each func(net.Conn) error) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return // closed
		}
		b.all.Lock()
		if b.ended {
			_ = nc.Close()
		}
		b.open[nc] = true
		b.all.Unlock()
		b.group.Go(func() {
			err := each(nc)
			_ = nc.Close()
			b.all.Lock()
			defer b.all.Unlock()
			delete(b.open, nc)
			if err != nil && !errors.Is(err, io.EOF) && !b.ended {
				b.t.Errorf("bridge to the TPM: %v", err)
			}
		})
	}
}

// The codes of the protocol.
const (
	sendCommand = 8
	handShake   = 15
	sessionEnd  = 20
)

// signals says yes to all: power and memory are on already.
func (b *bridge) signals(nc net.Conn) error {
	for {
		code, err := readUint32(nc)
		if err != nil || code == sessionEnd {
			return err
		}
		if _, err := nc.Write(make([]byte, 4)); err != nil {
			return err
		}
	}
}

func (b *bridge) commands(client net.Conn) error {
	for {
		code, err := readUint32(client)
		if err != nil {
			return err
		}
		switch code {
		case handShake:
			version, err := readUint32(client)
			if err != nil {
				return err
			}
			answer := binary.BigEndian.AppendUint32(nil, version)
			if _, err := client.Write(append(answer, make([]byte, 8)...)); err != nil {
				return err
			}
		case sendCommand:
			if err := b.command(client); err != nil {
				return err
			}
		case sessionEnd:
			return nil
		default:
			return errors.New("a command that no client is known to send")
		}
	}
}

func (b *bridge) command(client net.Conn) error {
	head := make([]byte, 5) // locality, size
	if _, err := io.ReadFull(client, head); err != nil {
		return err
	}
	command := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(client, command); err != nil {
		return err
	}
	response, err := b.ask(command)
	if err != nil {
		return err
	}
	framed := binary.BigEndian.AppendUint32(nil, uint32(len(response)))
	_, err = client.Write(append(append(framed, response...), 0, 0, 0, 0))
	return err
}

func (b *bridge) ask(command []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.tpm.Write(command); err != nil {
		return nil, err
	}
	response := make([]byte, 10) // tag, size, code
	if _, err := io.ReadFull(b.tpm, response); err != nil {
		return nil, err
	}
	rest := make([]byte, int(binary.BigEndian.Uint32(response[2:]))-len(response))
	_, err := io.ReadFull(b.tpm, rest)
	return append(response, rest...), err
}

func readUint32(r io.Reader) (uint32, error) {
	var raw [4]byte
	_, err := io.ReadFull(r, raw[:])
	return binary.BigEndian.Uint32(raw[:]), err
}

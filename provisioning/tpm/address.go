// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// defaultDevice is that of the kernel's resource manager. Linux, Documentation/security/tpm.
const defaultDevice = "/dev/tpmrm0"

// A command of a TPM may take minutes, where it makes an RSA key; of one that is silent for longer
// nothing more is to be expected.
const silence = 5 * time.Minute

// No response is longer. Part 2 of the TPM 2.0 library leaves the limit to the platform; 4096 bytes
// is that of PC Client TPMs.
const longestResponse = 4096

var errResponse = errors.New("what it answers is no response of a TPM")

// connection is a way to a TPM.
type connection interface {
	Send(command []byte) (response []byte, err error)
	io.Closer
}

func (t *TPM) place() string {
	if t.Transport != nil {
		return fmt.Sprintf("a transport (%T)", t.Transport)
	}
	return cmp.Or(t.Address, defaultDevice)
}

func (t *TPM) connect(ctx context.Context) (err error) {
	if t.Transport == nil && t.conn == nil {
		t.conn, err = open(ctx, cmp.Or(t.Address, defaultDevice))
		if err != nil {
			err = &openError{err}
		}
	}
	return err
}

func (t *TPM) disconnect() error {
	if t.conn == nil {
		return nil
	}
	err := t.conn.Close()
	t.conn = nil
	return err
}

// openError is one of opening the way to the TPM.
type openError struct{ error }

func (e *openError) Unwrap() error { return e.error }

func open(ctx context.Context, address string) (connection, error) {
	kind, rest, _ := strings.Cut(address, ":")
	switch kind {
	case "unix", "tcp":
		nc, err := new(net.Dialer).DialContext(ctx, kind, rest)
		return &socket{nc}, err
	case "mssim":
		return openSimulator(ctx, rest)
	}
	f, err := os.OpenFile(address, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	// A file that is no device takes the command and gives it back.
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeDevice == 0 {
		return nil, errors.Join(errors.New("not a device: put unix:, tcp: or mssim: "+
			"before the address of a socket"), err, f.Close())
	}
	return &device{f}, nil
}

// device is a character device: a write is a command, a read its whole response.
type device struct{ file *os.File }

func (d *device) Close() error { return d.file.Close() }

func (d *device) Send(command []byte) ([]byte, error) {
	if _, err := d.file.Write(command); err != nil {
		return nil, err
	}
	response := make([]byte, longestResponse)
	n, err := d.file.Read(response)
	return response[:n], err
}

// socket takes bare commands.
type socket struct{ net.Conn }

func (s *socket) Send(command []byte) ([]byte, error) {
	if err := s.SetDeadline(time.Now().Add(silence)); err != nil {
		return nil, err
	}
	if _, err := s.Write(command); err != nil {
		return nil, err
	}
	return readResponse(s)
}

// readResponse reads as much as the response's own header says: tag, size, code.
func readResponse(r io.Reader) ([]byte, error) {
	response := make([]byte, headerSize)
	if _, err := io.ReadFull(r, response); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(response[2:])
	if size < headerSize || size > longestResponse {
		return nil, errResponse
	}
	response = append(response, make([]byte, size-headerSize)...)
	_, err := io.ReadFull(r, response[headerSize:])
	return response, err
}

// simulator speaks the protocol of Microsoft's TPM simulator. Its source: ms-tpm-20-ref,
// TpmTcpProtocol.h.
type simulator struct{ commands, platform net.Conn }

const (
	simulatorPowerOn     = 1
	simulatorSendCommand = 8
	simulatorNVOn        = 11
	simulatorSessionEnd  = 20
)

func openSimulator(ctx context.Context, address string) (connection, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	s := new(simulator)
	if s.commands, err = d.DialContext(ctx, "tcp", address); err != nil {
		return nil, err
	}
	s.platform, err = d.DialContext(
		ctx, "tcp", net.JoinHostPort(host, strconv.FormatUint(n+1, 10)),
	)
	if err != nil {
		return nil, errors.Join(err, s.commands.Close())
	}
	for _, signal := range []uint32{simulatorPowerOn, simulatorNVOn} {
		if err := s.signal(signal); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// signal is one of the platform's, such as that of its power.
func (s *simulator) signal(code uint32) error {
	if err := s.platform.SetDeadline(time.Now().Add(silence)); err != nil {
		return err
	}
	if _, err := s.platform.Write(binary.BigEndian.AppendUint32(nil, code)); err != nil {
		return err
	}
	return readZero(s.platform)
}

func readZero(r io.Reader) error {
	var code [4]byte
	_, err := io.ReadFull(r, code[:])
	if err == nil && code != [4]byte{} {
		err = errResponse
	}
	return err
}

func (s *simulator) Send(command []byte) ([]byte, error) {
	if err := s.commands.SetDeadline(time.Now().Add(silence)); err != nil {
		return nil, err
	}
	framed := binary.BigEndian.AppendUint32(nil, simulatorSendCommand)
	framed = append(framed, 0) // locality
	framed = binary.BigEndian.AppendUint32(framed, uint32(len(command)))
	if _, err := s.commands.Write(append(framed, command...)); err != nil {
		return nil, err
	}
	var size [4]byte // the response's own header says it, too
	if _, err := io.ReadFull(s.commands, size[:]); err != nil {
		return nil, err
	}
	response, err := readResponse(s.commands)
	if err == nil {
		err = readZero(s.commands)
	}
	return response, err
}

// Close says so to the other side, which serves one user after the other.
func (s *simulator) Close() error {
	end := binary.BigEndian.AppendUint32(nil, simulatorSessionEnd)
	_, _ = s.commands.Write(end)
	_, _ = s.platform.Write(end)
	return errors.Join(s.commands.Close(), s.platform.Close())
}

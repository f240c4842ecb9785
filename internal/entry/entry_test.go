// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden are entries as devices in the field hold them: what these files say must be read for ever.
func golden() map[string]Entry {
	full := Entry{
		Sequence: 7, Saved: time.Unix(1_800_000_000, 0).UTC(),
		Scope: "0ne00ABCDEF", RegistrationID: "sensor-042",
		Endpoint: "global.azure-devices-provisioning.net", Fingerprint: "k1:6bde",
		Confirmed: &Assignment{
			Hub: "hub-a.azure-devices.net", DeviceID: "device-7", Substatus: "deviceDataMigrated",
			Created: time.Unix(1_700_000_000, 123456700).UTC(),
			Updated: time.Unix(1_800_000_000, 0).UTC(), Payload: []byte(`{"room":4}`),
		},
		Candidate: &Assignment{Hub: "hub-b.azure-devices.net", DeviceID: "device-7"},
	}
	confirmed, candidate := full, full
	confirmed.Candidate, candidate.Confirmed = nil, nil
	profiled := Assignment{Hub: "hub-c.azure-devices.net", DeviceID: "device-7", Profile: "mqttV5"}
	foreign := full
	foreign.Candidate = &profiled
	behindFirewall := confirmed
	behindFirewall.Fallback.Hub = time.Unix(1_790_000_000, 0).UTC()
	bothPorts := foreign
	bothPorts.Fallback = Fallback{
		Hub: time.Unix(1_790_000_000, 0).UTC(), DPS: time.Unix(1_790_000_001, 0).UTC(),
	}
	return map[string]Entry{
		"profile": foreign, "fallback": behindFirewall, "fallbacks": bothPorts,
		"both": full, "confirmed": confirmed, "candidate": candidate,
		"neither": {Saved: time.Unix(0, 0).UTC(), Scope: "x", RegistrationID: "y", Endpoint: "z"},
	}
}

func TestStoredEntriesAreReadForEver(t *testing.T) {
	for name, want := range golden() {
		file := filepath.Join("testdata", name+".hex")
		stored := Frame(want.Body(), []byte("a seal of "+name))
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(hex.Dump(stored)), 0o600))
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(text), hex.Dump(stored), "%s: what is written has changed", name)
		body, seal, err := Unframe(fromDump(t, string(text)))
		require.NoError(t, err)
		require.Equal(t, "a seal of "+name, string(seal))
		got, err := Parse(body)
		require.NoError(t, err)
		require.Equal(t, want, *got)
	}
}

// fromDump reads what hex.Dump has written.
func fromDump(t *testing.T, dump string) []byte {
	var data []byte
	for line := range strings.Lines(dump) {
		digits, _, _ := strings.Cut(line[10:], "|")
		bytes, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		require.NoError(t, err)
		data = append(data, bytes...)
	}
	return data
}

func TestADamagedFrameIsTorn(t *testing.T) {
	e := golden()["both"]
	stored := Frame(e.Body(), []byte("seal"))
	for n := range stored {
		_, _, err := Unframe(stored[:n])
		require.ErrorIs(t, err, ErrTorn, "cut to %d bytes", n)
		changed := bytes.Clone(stored)
		changed[n] ^= 1
		_, _, err = Unframe(changed)
		require.ErrorIs(t, err, ErrTorn, "byte %d changed", n)
	}
	_, _, err := Unframe(append(bytes.Clone(stored), 0))
	require.ErrorIs(t, err, ErrTorn, "one byte more")
	_, _, err = Unframe(make([]byte, Max+1))
	require.ErrorIs(t, err, ErrTorn, "too long")
}

func TestAnotherVersionIsToldFromDamage(t *testing.T) {
	e := golden()["both"]
	for v, want := range map[byte]error{
		version + 1: ErrNewer, 0xff: ErrNewer, version - 1: ErrTorn,
	} {
		stored := Frame(e.Body(), []byte("seal"))
		stored[len(magic)] = v
		stored = resum(stored)
		_, _, err := Unframe(stored)
		require.ErrorIs(t, err, want, "version %d", v)
	}
}

// resum gives a changed frame a checksum that holds.
func resum(stored []byte) []byte {
	stored = stored[:len(stored)-4]
	sum := crc32.Checksum(stored, crc32.MakeTable(crc32.Castagnoli))
	return binary.BigEndian.AppendUint32(stored, sum)
}

func TestACutBodyIsTorn(t *testing.T) {
	for name, e := range golden() {
		body := e.Body()
		// without what was added later it is an entry too, as there were once
		profiled := len(body) - len(e.appendFallback(nil))
		before := profiled - len(e.appendProfiles(nil))
		for n := range body {
			if n == before || n == profiled {
				continue
			}
			_, err := Parse(body[:n])
			require.ErrorIs(t, err, ErrTorn, "%s cut to %d bytes", name, n)
		}
		_, err := Parse(append(body, 0))
		require.ErrorIs(t, err, ErrTorn, "%s with one byte more", name)
	}
	for _, a := range []*Assignment{{DeviceID: "d"}, {Hub: "h"}} {
		_, err := Parse((&Entry{Confirmed: a}).Body())
		require.ErrorIs(t, err, ErrTorn, "an assignment to nowhere, or of nobody")
	}
}

func TestAssignmentsAreCompared(t *testing.T) {
	same := golden()["both"].Confirmed
	require.True(t, same.Equal(golden()["both"].Confirmed))
	require.True(t, (*Assignment)(nil).Equal(nil))
	require.False(t, same.Equal(nil))
	require.False(t, (*Assignment)(nil).Equal(same))
	for name, change := range map[string]func(a *Assignment){
		"hub":       func(a *Assignment) { a.Hub = "hub-c" },
		"device":    func(a *Assignment) { a.DeviceID = "device-8" },
		"substatus": func(a *Assignment) { a.Substatus = "" },
		"created":   func(a *Assignment) { a.Created = a.Created.Add(1) },
		"updated":   func(a *Assignment) { a.Updated = a.Updated.Add(1) },
		"payload":   func(a *Assignment) { a.Payload = nil },
		"profile":   func(a *Assignment) { a.Profile = "mqttV5" },
	} {
		other := golden()["both"].Confirmed
		change(other)
		require.False(t, same.Equal(other), name)
	}
}

func FuzzEntry(f *testing.F) {
	for _, e := range golden() {
		f.Add(e.Body(), []byte("seal"))
	}
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, body, seal []byte) {
		if len(body)+len(seal) > Max/2 || len(seal) > 0xffff {
			return
		}
		got, gotSeal, err := Unframe(Frame(body, seal))
		require.NoError(t, err)
		require.True(t, bytes.Equal(body, got) && bytes.Equal(seal, gotSeal))
		_, _, _ = Unframe(body)
		if parsed, err := Parse(body); err == nil {
			again, err := Parse(parsed.Body())
			require.NoError(t, err)
			require.Equal(t, parsed, again)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
)

// BenchmarkStorage counts what the database writes for 1,000 messages of 200 B that are kept,
// delivered and removed, beside a log of segments that does no more than that. Bytes are those of
// the blocks of 4 KiB that are written, once for each sync; what a file system writes besides is
// not counted.
func BenchmarkStorage(b *testing.B) {
	const messages = 1000
	for _, commit := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("bbolt, %d a commit", commit), func(b *testing.B) {
			f := open(b, filepath.Join(b.TempDir(), "outbox.db"), quickly)
			box := boxOf(b, f)
			batch := make([]hubconn.Message, commit)
			for i := range batch {
				batch[i].Body = bytes.Repeat([]byte("x"), 200)
			}
			d := &delivery{box: box}
			syncs := func() uint64 { return 2 * f.Stats().Commits }
			count(b, messages, commit, handed(b), syncs, func() {
				require.NoError(b, box.Send(b.Context(), batch...))
				for {
					m, ok, err := d.take(telemetry)
					require.NoError(b, err)
					if !ok {
						return
					}
					box.acknowledge(m.lane, m.sequence, m.size)
				}
			})
		})
		b.Run(fmt.Sprintf("log, %d a commit", commit), func(b *testing.B) {
			l := &segmentLog{dir: b.TempDir()}
			record := bytes.Repeat([]byte("x"), 200)
			written := func() uint64 { return l.blocks * block }
			count(b, messages, commit, written, func() uint64 { return l.syncs }, func() {
				for range commit {
					l.append(record)
				}
				require.NoError(b, l.commit())
				l.acknowledged += uint64(commit)
			})
			require.NoError(b, l.file.Close())
		})
	}
}

// count runs rounds of so many messages, and reports what 1,000 of them cost.
func count(b *testing.B, messages, commit int, written, syncs func() uint64, round func()) {
	b.Helper()
	round() // the file is there
	total, begin, synced := 0, written(), syncs()
	for b.Loop() {
		for n := 0; n < messages; n += commit {
			round()
			total += commit
		}
	}
	per := 1000 / float64(total)
	b.ReportMetric(float64(written()-begin)*per, "B/1000msgs")
	b.ReportMetric(float64(syncs()-synced)*per, "fsyncs/1000msgs")
	b.ReportMetric(0, "ns/op")
}

// handed is how many bytes the process has handed to the kernel: the database's pages are blocks.
func handed(b *testing.B) func() uint64 {
	return func() (n uint64) {
		text, err := os.ReadFile("/proc/self/io")
		require.NoError(b, err)
		for line := range bytes.Lines(text) {
			if _, err := fmt.Sscanf(string(line), "wchar: %d", &n); err == nil {
				return n
			}
		}
		b.Skip("the kernel does not count")
		return 0
	}
}

const block = 4096

// segmentLog is the least that an own log would be: records with a checksum, the position of what
// is acknowledged with each commit, and segments that are removed when they are.
type segmentLog struct {
	dir          string
	file         *os.File
	size         int
	segment      int
	pending      []byte
	acknowledged uint64
	syncs        uint64
	blocks       uint64 // written
}

const segmentSize = 1 << 20

func (l *segmentLog) append(record []byte) {
	l.pending = binary.LittleEndian.AppendUint32(l.pending, uint32(len(record)))
	l.pending = binary.LittleEndian.AppendUint32(l.pending, crc32.Checksum(record, castagnoli))
	l.pending = append(l.pending, record...)
}

func (l *segmentLog) commit() error {
	l.append(binary.LittleEndian.AppendUint64(nil, l.acknowledged))
	if l.file == nil || l.size+len(l.pending) > segmentSize {
		if l.file != nil {
			if err := l.file.Close(); err != nil {
				return err
			}
			if err := os.Remove(l.file.Name()); err != nil { // it is acknowledged by now
				return err
			}
		}
		l.segment++
		file, err := os.Create(filepath.Join(l.dir, fmt.Sprint(l.segment)))
		if err != nil {
			return err
		}
		l.file, l.size = file, 0
		l.syncs++ // of the directory
	}
	n, err := l.file.Write(l.pending)
	l.blocks += uint64((l.size+n-1)/block - l.size/block + 1)
	l.size += n
	l.pending = l.pending[:0]
	if err != nil {
		return err
	}
	l.syncs++
	return l.file.Sync()
}

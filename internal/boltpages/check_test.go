// SPDX-License-Identifier: Apache-2.0

package boltpages

import (
	"bytes"
	"hash/fnv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const page = 4096

// The image of a file: a root with a bucket, whose root is a branch over two leaves. That real
// files pass is for the tests of those who have the database.
func image() []byte {
	b := make([]byte, 6*page)
	for i := range uint64(2) {
		m := b[i*page+pageHeader:]
		order.PutUint32(m, magic)
		order.PutUint32(m[4:], version)
		order.PutUint32(m[8:], page)
		order.PutUint64(m[16:], 2)
		order.PutUint64(m[40:], 6)
		order.PutUint64(m[48:], i)
		seal(m)
	}
	header(b, 2, leafPage, 1)
	e := b[2*page+pageHeader:]
	order.PutUint32(e, bucketLeaf)
	order.PutUint32(e[4:], element)
	order.PutUint32(e[12:], bucketSize)
	order.PutUint64(e[element:], 3)
	header(b, 3, branchPage, 2)
	for i := range uint64(2) {
		order.PutUint64(b[3*page+pageHeader+i*element+8:], 4+i)
		header(b, 4+int(i), leafPage, 0)
	}
	return b
}

func header(b []byte, id int, flags, count uint16) {
	order.PutUint64(b[id*page:], uint64(id))
	order.PutUint16(b[id*page+8:], flags)
	order.PutUint16(b[id*page+10:], count)
}

func seal(meta []byte) {
	sum := fnv.New64a()
	_, _ = sum.Write(meta[:metaSize-8])
	order.PutUint64(meta[56:], sum.Sum64())
}

func check(b []byte) error { return Check(bytes.NewReader(b), int64(len(b))) }

func TestATreePassesAndWhatIsNoneIsTold(t *testing.T) {
	require.NoError(t, check(image()))
	child := 3*page + pageHeader + 8
	for want, damage := range map[string]func(b []byte) []byte{
		"more than one page leads to page 3": func(b []byte) []byte {
			order.PutUint64(b[child:], 3)
			return b
		},
		"more than one page leads to page 5": func(b []byte) []byte {
			order.PutUint64(b[child:], 5)
			return b
		},
		"page 6 is not in the file": func(b []byte) []byte {
			order.PutUint64(b[child:], 6)
			return b
		},
		"page 5 is not in the file":        func(b []byte) []byte { return b[:5*page] },
		"page 5 is not as it was written":  func(b []byte) []byte { clear(b[4*page:]); return b },
		"page 5: it is of kind 0x7":        func(b []byte) []byte { b[5*page+8] = 7; return b },
		"it has no valid meta page":        func(b []byte) []byte { clear(b[:2*page]); return b },
		"page 3: it has more elements tha": func(b []byte) []byte { b[3*page+11] = 9; return b },
		"page 3: an element lies outside": func(b []byte) []byte {
			b[3*page+pageHeader+1] = 0x20
			return b
		},
		"page 2: a bucket is too short": func(b []byte) []byte {
			b[2*page+pageHeader+12] = 8
			return b
		},
		"page 2: an element lies over another": func(b []byte) []byte { b[2*page+10] = 2; return b },
		"page 2: a small bucket has a bucket":  func([]byte) []byte { return manyWays() },
		"page 2: a bucket has no page": func(b []byte) []byte {
			clear(b[2*page+pageHeader+element:][:8])
			return b
		},
	} {
		assert.ErrorContains(t, check(damage(image())), want)
	}
}

func TestTheNewestValidMetaPageCounts(t *testing.T) {
	b := image()
	order.PutUint64(b[page+pageHeader+16:], 7) // where there is none
	require.NoError(t, check(b), "its checksum is wrong")
	seal(b[page+pageHeader:])
	require.ErrorContains(t, check(b), "page 7 is not in the file")
	b = image()
	clear(b[:page])
	require.NoError(t, check(b), "the other one serves")
}

// manyWays is the image of a file whose root has two elements that are the same small bucket,
// whose page has two such elements in turn, and so on: by far too many ways to the last.
func manyWays() []byte {
	const level = pageHeader + 2*element + bucketSize
	b := image()
	header(b, 2, leafPage, 2)
	for at := 2 * page; at+2*level <= 3*page; at += level {
		order.PutUint16(b[at+8:], leafPage)
		order.PutUint16(b[at+10:], 2)
		value := at + pageHeader + 2*element
		clear(b[value : value+bucketSize])
		for i := range 2 {
			e := b[at+pageHeader+i*element:]
			order.PutUint32(e, bucketLeaf)
			order.PutUint32(e[4:], uint32((2-i)*element))
			order.PutUint32(e[8:], 0)
			order.PutUint32(e[12:], uint32(3*page-value))
		}
		order.PutUint16(b[at+level+8:], leafPage) // the last has none
	}
	return b
}

// Whatever is in the file, the check ends.
func FuzzPages(f *testing.F) {
	f.Add(image(), uint16(0), byte(0))
	f.Add(manyWays(), uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, value byte) {
		if int(at) < len(b) {
			b[at] = value
		}
		if len(b) >= pageHeader+metaSize {
			seal(b[pageHeader:]) // or nothing behind it would be looked at
		}
		if err := check(b); err != nil {
			assert.NotContains(t, err.Error(), "\n")
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package boltpages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The format of bbolt, version 2 (bbolt: internal/common, page.go and meta.go). All numbers are in
// the byte order of the machine.
const (
	magic   = 0xed0cdaed
	version = 2

	pageHeader = 16 // ID, flags, count of elements, count of overflow pages
	metaSize   = 64
	element    = 16
	bucketSize = 16 // root page, sequence number

	branchPage = 0x01
	leafPage   = 0x02
	bucketLeaf = 0x01 // an element's flag

	smallestPage, largestPage = 1 << 10, 1 << 16
)

var order = binary.NativeEndian

// meta is what leads to all other pages.
type meta struct {
	pageSize uint32
	root     uint64
	pages    uint64 // the first page that is not in use
	txid     uint64
}

// parseMeta reads what follows the header of a meta page; not ok is one that is not valid.
func parseMeta(b []byte) (m meta, ok bool) {
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaSize-8]) // never fails
	m = meta{
		pageSize: order.Uint32(b[8:]), root: order.Uint64(b[16:]), pages: order.Uint64(b[40:]),
		txid: order.Uint64(b[48:]),
	}
	size := m.pageSize
	ok = order.Uint32(b) == magic && order.Uint32(b[4:]) == version &&
		order.Uint64(b[56:]) == sum.Sum64() &&
		size >= smallestPage && size <= largestPage && size&(size-1) == 0
	return m, ok
}

// Check returns why the pages of a file of so many bytes are no tree, in a few words, or the error
// of reading it.
func Check(file io.ReaderAt, size int64) error {
	m, err := newest(file, size)
	if err != nil {
		return err
	}
	c := &checker{file: file, size: size, meta: m, seen: map[uint64]bool{}, open: []uint64{m.root}}
	for len(c.open) > 0 {
		last := len(c.open) - 1
		id := c.open[last]
		c.open = c.open[:last]
		if err := c.page(id); err != nil {
			return err
		}
	}
	return nil
}

// newest finds the meta page that the database will use. The second page is where the page size of
// the first says, or at one of the sizes that there are.
func newest(file io.ReaderAt, size int64) (best meta, err error) {
	found := false
	b := make([]byte, metaSize)
	try := func(at int64, page uint32) (meta, bool) {
		if at+metaSize > size {
			return meta{}, false
		}
		if _, err = file.ReadAt(b, at); err != nil {
			return meta{}, false
		}
		m, ok := parseMeta(b)
		ok = ok && (page == 0 || m.pageSize == page)
		if ok && (!found || m.txid > best.txid) {
			best, found = m, true
		}
		return m, ok
	}
	if m, ok := try(pageHeader, 0); ok {
		try(int64(m.pageSize)+pageHeader, m.pageSize)
	} else {
		for page := int64(smallestPage); page <= largestPage; page *= 2 {
			try(page+pageHeader, uint32(page))
		}
	}
	switch {
	case found:
		return best, nil
	case err != nil:
		return meta{}, err
	}
	return meta{}, errors.New("it has no valid meta page")
}

// checker visits each page once.
type checker struct {
	file io.ReaderAt
	size int64
	meta meta
	seen map[uint64]bool
	open []uint64 // to be visited
}

// page checks a page, and notes those that it leads to.
func (c *checker) page(id uint64) error {
	size := int64(c.meta.pageSize)
	if id < 2 || id >= c.meta.pages || id >= uint64(c.size/size) {
		return fmt.Errorf("page %d is not in the file", id)
	}
	head := make([]byte, pageHeader)
	if _, err := c.file.ReadAt(head, int64(id)*size); err != nil {
		return err
	}
	overflow := uint64(order.Uint32(head[12:]))
	if order.Uint64(head) != id || id+overflow >= c.meta.pages ||
		id+overflow >= uint64(c.size/size) {
		return fmt.Errorf("page %d is not as it was written", id)
	}
	for p := id; p <= id+overflow; p++ {
		if c.seen[p] {
			return fmt.Errorf("more than one page leads to page %d", p)
		}
		c.seen[p] = true
	}
	b := make([]byte, (1+int64(overflow))*size)
	if _, err := c.file.ReadAt(b, int64(id)*size); err != nil {
		return err
	}
	if err := c.elements(b, false); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// elements checks what is in a page, or in the page that a small bucket has within an element. Such
// a bucket has no buckets, and no two elements have the same bytes: or there would be any number of
// ways through one page.
func (c *checker) elements(b []byte, small bool) error {
	flags, count := order.Uint16(b[8:]), int(order.Uint16(b[10:]))
	free := uint64(pageHeader + count*element) // from where on the next key may be
	if flags != branchPage && flags != leafPage {
		return fmt.Errorf("it is of kind %#x", flags)
	}
	if pageHeader+count*element > len(b) {
		return errors.New("it has more elements than fit")
	}
	for i := range count {
		at := pageHeader + i*element
		e := b[at:]
		if flags == branchPage {
			if !within(b, at, order.Uint32(e), order.Uint32(e[4:]), 0) {
				return errors.New("an element lies outside")
			}
			c.open = append(c.open, order.Uint64(e[8:]))
			continue
		}
		position, key, value := order.Uint32(e[4:]), order.Uint32(e[8:]), order.Uint32(e[12:])
		if !within(b, at, position, key, value) {
			return errors.New("an element lies outside")
		}
		start := uint64(at) + uint64(position)
		if start < free {
			return errors.New("an element lies over another")
		}
		free = start + uint64(key) + uint64(value)
		if order.Uint32(e)&bucketLeaf == 0 {
			continue
		}
		if small {
			return errors.New("a small bucket has a bucket")
		}
		begin := at + int(position) + int(key)
		if err := c.bucket(b[begin : begin+int(value)]); err != nil {
			return err
		}
	}
	return nil
}

// within says that an element's key and value are in the page.
func within(page []byte, at int, position, key, value uint32) bool {
	return uint64(at)+uint64(position)+uint64(key)+uint64(value) <= uint64(len(page))
}

// bucket checks the element of a bucket, which has a tree of its own or a page within.
func (c *checker) bucket(b []byte) error {
	if len(b) < bucketSize {
		return errors.New("a bucket is too short")
	}
	if root := order.Uint64(b); root != 0 {
		c.open = append(c.open, root)
		return nil
	}
	inline := b[bucketSize:]
	if len(inline) < pageHeader || order.Uint16(inline[8:]) != leafPage {
		return errors.New("a bucket has no page")
	}
	return c.elements(inline, true)
}

// SPDX-License-Identifier: Apache-2.0

// Package boltpages looks at the pages of a bbolt file before the database reads them. bbolt has no
// checksum of a page, and believes what it finds: where a medium has lost a write, a page may lead
// back to one above it, and reading would never end.
//
//	file, err := os.Open(path)
//	...
//	if err := boltpages.Check(file, size); err != nil {
//		return fmt.Errorf("%w (%w)", onefile.ErrDamaged, err)
//	}
//
// It checks that the pages which the newest valid meta page leads to make a tree within the file,
// and nothing of what is in their keys and values. The format is bbolt's, version 2; the package
// does not import bbolt, which is in modules of their own.
package boltpages

// SPDX-License-Identifier: Apache-2.0

// Package onefile is what the packages that keep a database in one file have in common: the file
// comes into being whole, and what is wrong with it is told in one line.
//
//	if err := onefile.Create(path, initialise); err != nil {
//		return errors.New(onefile.Explain("store file", path, err))
//	}
//
// It knows no database: those are in modules of their own.
package onefile

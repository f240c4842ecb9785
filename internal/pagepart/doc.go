// SPDX-License-Identifier: Apache-2.0

// Package pagepart holds a part of one of the project's pages to what a test sees. The part stands
// between two comments, which a reader of the page does not see:
//
//	<!-- faults -->
//	<!-- end of faults -->
//
// The test calls Compare, and fails where the page says something else. With -update it writes what
// it sees into the page instead. Commands returns what a page has its reader type, for a test that
// does so.
package pagepart

// SPDX-License-Identifier: Apache-2.0

// Command mutate measures how much of a package its own tests hold: it breaks the code in one place
// at a time and looks whether a test fails.
//
//	go -C internal/tools run ./mutate -dir ../.. -pkg ./internal/rules -short -min 95
//
// What it breaks, in the files that are not tests:
//
//	comparisons     < and <=, > and >=, == and != in place of each other
//	conditions      of if, and the cases of a switch without a tag: true, and false;
//	                of for: false
//	&&, ||, !       each operand left out, the negation left out
//	true, false     in place of each other
//	numbers         an integer one more, a fraction halved
//	durations       doubled, and 0 to a second; each one of a composite literal, too
//	assignments     removed, one by one where several stand in one statement, also
//	                x op= y and x++; a variable that begins with a value begins with zero
//	calls           as statements, removed, also with go and defer
//	cases           of a switch with an empty body
//	min, max        in place of each other
//
// The tree is never changed, and may be while this runs: the compiler sees copies of the package's
// files, one of them broken, by way of -overlay. Survivors are told as they are found, too. What
// does not compile does not count, nor does what is compiled to the very same as the unbroken code,
// or as another mutant. Tests that do not end in time count as failed.
//
// Survivors can be argued in the file of -argued, an entry each, that begins with the function and
// the words of the report and ends with the reason. Further lines of an entry are indented:
//
//	delay.go:draw.outage: min(asked, 16) becomes min(asked, 17): the cap is reached
//	  long before
//
// They still count as survivors. An entry that no survivor matches any more is an error.
package main

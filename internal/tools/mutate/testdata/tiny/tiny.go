// Package tiny is broken by the tests of mutate.
package tiny

// Clamp survives n >= 10, which does the same.
func Clamp(n int) int {
	if n > 10 {
		return 10
	}
	return n
}

// Wait never ends without its channel, or without whoever sends on it.
func Wait(n int) int {
	c := make(chan int)
	go send(c, n)
	return <-c
}

func send(c chan<- int, n int) { c <- n }

// Full cannot be one more.
const Full uint8 = 255

// Three is as well never true as without its body.
func Three(n int) string {
	switch {
	case n == 3:
		return "three"
	}
	return "other"
}

// Again does the same without its second assignment.
func Again(n int) int {
	m := n
	m = n
	return m
}

// alone is called by nobody, so its mutant survives, although no program has it.
func alone(n int) bool { return n > 3 }

// Apart is for other packages.
const Apart = 3

// Plus is the same whichever 1 is a 2.
func Plus(n int) int { return n + 1 + 1 }

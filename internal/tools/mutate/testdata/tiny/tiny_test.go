package tiny

import (
	"os"
	"testing"
)

func TestClamp(t *testing.T) {
	if Clamp(11) != 10 || Clamp(3) != 3 {
		t.Error("Clamp")
	}
}

func TestWait(t *testing.T) {
	if Wait(3) != 3 {
		t.Error("Wait")
	}
}

func TestThree(t *testing.T) {
	if Three(3) != "three" || Three(4) != "other" {
		t.Error("Three")
	}
}

func TestPlus(t *testing.T) {
	if Plus(3) != 5 {
		t.Error("Plus")
	}
}

func TestAgain(t *testing.T) {
	if Again(3) != 3 {
		t.Error("Again")
	}
}

func TestHowItIsRun(t *testing.T) {
	if !testing.Short() || os.Getenv("TINY") != "yes" {
		t.Error("run without -short or TINY")
	}
}

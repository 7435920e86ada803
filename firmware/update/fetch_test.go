package main

import (
	"strings"
	"testing"

	"clinicgate/firmware/release"
	"clinicgate/firmware/verity"
)

// A root filesystem that is larger than the slot is refused before anything of it
// is fetched.
func TestFits(t *testing.T) {
	image := release.Image{Verity: strings.Repeat("5a", 32) + ":256"} // and two levels of tree, 3 blocks
	for blocks, ok := range map[int]bool{259: true, 258: false} {
		err := fits(strings.NewReader(strings.Repeat("x", blocks*verity.Block)), image)
		if (err == nil) != ok {
			t.Errorf("%d blocks: got %v", blocks, err)
		}
	}
}

package main

import (
	"fmt"
	"os"
	"strings"

	"clinicgate/board"
	"clinicgate/firmware/verity"
)

// cmdline is what the signed kernel command line tells us.
type cmdline struct {
	board *board.Board
	slot  string       // "a" or "b"
	root  verity.Image // what the root filesystem must be
}

func readCmdline() (cmdline, error) {
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return cmdline{}, fmt.Errorf("read command line: %w", err)
	}
	return parseCmdline(string(text))
}

func parseCmdline(text string) (cmdline, error) {
	c := cmdline{slot: "a"}
	for word := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "clinicgate.board":
			if c.board = board.Find(value); c.board == nil {
				return c, fmt.Errorf("command line: clinicgate.board: no board is called %q", value)
			}
		case "clinicgate.slot":
			if value != "a" && value != "b" {
				return c, fmt.Errorf("command line: clinicgate.slot: got %q, want a or b", value)
			}
			c.slot = value
		case "clinicgate.verity":
			var err error
			if c.root, err = verity.Parse(value); err != nil {
				return c, fmt.Errorf("command line: clinicgate.verity: %w", err)
			}
		}
	}
	if c.board == nil {
		return c, fmt.Errorf("command line: clinicgate.board is missing")
	}
	if c.root.Blocks == 0 {
		return c, fmt.Errorf("command line: clinicgate.verity is missing: nothing says what the root filesystem must be")
	}
	return c, nil
}

package main

import (
	"fmt"
	"os"
	"strings"

	"clinicgate/board"
)

// cmdline is what the signed kernel command line tells us.
type cmdline struct {
	board *board.Board
	slot  string // "a" or "b"
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
		}
	}
	if c.board == nil {
		return c, fmt.Errorf("command line: clinicgate.board is missing")
	}
	return c, nil
}

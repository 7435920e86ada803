package main

import (
	"strconv"
	"testing"

	"clinicgate/board"
	"clinicgate/firmware/lab/qemu"
)

func itoa(n int) string { return strconv.Itoa(n) }

func qemuBoard(t *testing.T) *board.Board {
	t.Helper()
	return board.Find("qemu-x86_64")
}

func expectUp(t *testing.T, vm *qemu.VM) {
	t.Helper()
	_, _ = vm.Expect(`clinicgate: ready in ([0-9.]+) s`, 10e9)
}

//go:debug multipathtcp=0

// Command bare is the least a kernel can boot into: it says so and ends. The
// bench of the box's start is judged against it.
package main

import (
	"fmt"
	"os"
	"syscall"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "bare: runs as process 1 of a test machine only")
		os.Exit(2)
	}
	fmt.Print("bare: up\r\n")
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("bare:", err)
	}
	os.Exit(1) // the kernel panics, which ends the machine too
}

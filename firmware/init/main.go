//go:debug multipathtcp=0

// Command init is process 1 of the box. In the initrd it finds the root filesystem
// and moves there; in the root filesystem it makes the box ready, keeps its
// programs running, feeds the watchdog and ends it all in order.
package main

import (
	"fmt"
	"os"
)

// initrdMark is in the initrd only.
const initrdMark = "/etc/initrd-release"

// PID 1 never returns: when it does, the kernel panics and, by the panic= on its
// command line, resets the box. That is what is wanted when there is no way on.
func main() {
	if os.Getpid() != 1 {
		fmt.Fprintf(os.Stderr, "init: runs as process 1 of a clinicgate box only\n")
		os.Exit(2)
	}
	stage := system
	if _, err := os.Stat(initrdMark); err == nil {
		stage = initrd
	}
	err := stage()
	say("cannot go on: %v", err)
	os.Exit(1)
}

// say prints one line for people on the console.
func say(format string, args ...any) {
	fmt.Printf("clinicgate: "+format+"\r\n", args...)
}

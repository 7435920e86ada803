// Command crashing says that it is ready, works for a second, and ends with an
// error: a release's worst program, for TestFallback.
package main

import (
	"net"
	"os"
	"time"
)

func main() {
	if c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET")); err == nil {
		_, _ = c.Write([]byte("READY=1")) // a supervisor that does not listen changes nothing
	}
	time.Sleep(time.Second)
	os.Exit(7)
}

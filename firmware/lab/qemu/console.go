package qemu

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"
)

type conn = net.UnixConn

func dialUnix(path string) (*conn, error) {
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
}

// console is the serial line: everything the machine ever wrote, and how far a
// test has read.
type console struct {
	line *conn

	mu    sync.Mutex
	text  strings.Builder
	read  int
	more  chan struct{} // closed and replaced when text grows
	ended bool
}

func listen(line *conn) *console {
	c := &console{line: line, more: make(chan struct{})}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := line.Read(buf)
			c.mu.Lock()
			c.text.Write(buf[:n])
			c.ended = err != nil
			close(c.more)
			c.more = make(chan struct{})
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return c
}

// Expect waits until the console shows a match of pattern behind what earlier
// calls have matched, and returns it with its submatches.
func (vm *VM) Expect(pattern string, limit time.Duration) ([]string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("expect: %w", err)
	}
	timeout := time.After(limit)
	c := vm.console
	for {
		c.mu.Lock()
		rest, more, ended := c.text.String()[c.read:], c.more, c.ended
		at := re.FindStringSubmatchIndex(rest)
		if at != nil {
			c.read += at[1]
		}
		c.mu.Unlock()
		if at != nil {
			return re.FindStringSubmatch(rest), nil
		}
		if ended {
			return nil, fmt.Errorf("console: no %q before the machine ended\n%s", pattern, vm.tail())
		}
		select {
		case <-more:
		case <-timeout:
			return nil, fmt.Errorf("console: no %q within %v\n%s", pattern, limit, vm.tail())
		}
	}
}

// Send types text on the console.
func (vm *VM) Send(text string) error {
	_, err := vm.console.line.Write([]byte(text))
	return err
}

// Transcript is everything the console has shown.
func (vm *VM) Transcript() string {
	vm.console.mu.Lock()
	defer vm.console.mu.Unlock()
	return vm.console.text.String()
}

// Detach lets go of the console, for a person to take it: serial.sock in the
// machine's folder. The transcript ends here.
func (vm *VM) Detach() { vm.console.line.Close() }

// tail is the end of the transcript, for error messages.
func (vm *VM) tail() string {
	text := vm.Transcript()
	return text[max(0, len(text)-2000):]
}

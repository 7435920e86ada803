// Package control is how a person reaches a running lab from another terminal: a
// unix socket that takes one line and answers with text. It guarantees that each
// command is answered before the next is run.
package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Command is something a lab can be asked for.
type Command struct {
	Name string // one word
	Args string // for the help
	Help string
	Run  func(ctx context.Context, args []string) (string, error)
}

// maxLine bounds a command line.
const maxLine = 4096

// Serve answers commands at socket until ctx ends.
func Serve(ctx context.Context, socket string, commands []Command) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // a crash left it, and it can't be taken away
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := giveToCaller(socket); err != nil {
		l.Close()
		return fmt.Errorf("control socket: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var one sync.Mutex
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("control socket: %w", err)
		}
		go func() {
			defer conn.Close()
			conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			line, err := bufio.NewReader(io.LimitReader(conn, maxLine)).ReadString('\n')
			if err != nil {
				return
			}
			one.Lock()
			defer one.Unlock()
			fmt.Fprint(conn, answer(ctx, commands, strings.Fields(line)))
		}()
	}
}

// giveToCaller lets the person who started the lab through sudo ask it without.
func giveToCaller(socket string) error {
	uid, err := strconv.Atoi(os.Getenv("SUDO_UID"))
	if err != nil {
		return nil // not through sudo
	}
	return os.Chown(socket, uid, -1)
}

// errorMark starts an answer that is an error.
const errorMark = "error: "

func answer(ctx context.Context, commands []Command, words []string) string {
	if len(words) == 0 {
		words = []string{"help"}
	}
	i := slices.IndexFunc(commands, func(c Command) bool { return c.Name == words[0] })
	if i < 0 {
		return Usage(commands)
	}
	text, err := commands[i].Run(ctx, words[1:])
	if err != nil {
		return errorMark + err.Error() + "\n"
	}
	if text == "" {
		text = "done"
	}
	return strings.TrimRight(text, "\n") + "\n"
}

// Usage lists the commands.
func Usage(commands []Command) string {
	var b strings.Builder
	b.WriteString("the lab takes:\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-28s %s\n", strings.TrimSpace(c.Name+" "+c.Args), c.Help)
	}
	return b.String()
}

// Call asks the lab at socket and returns its answer.
func Call(socket string, words ...string) (string, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return "", fmt.Errorf("no lab is running: %w; `make run` or `make lab` starts one", err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, strings.Join(words, " "))
	text, err := io.ReadAll(conn)
	if err != nil {
		return "", fmt.Errorf("ask the lab: %w", err)
	}
	if bad, ok := strings.CutPrefix(string(text), errorMark); ok {
		return "", errors.New(strings.TrimSpace(bad))
	}
	return string(text), nil
}

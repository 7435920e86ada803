package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// askpass is a program that asks for a PIN in a window and prints it, as ssh-askpass
// and pinentry's front ends do. Its argument is the question.
type askpass string

// Ask runs the program. What it printed is wiped but for what is returned.
func (p askpass) Ask(ctx context.Context, question string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, string(p), question)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("ask for the PIN: %w", err)
	}
	typed := make([]byte, 64) // one buffer of ours, so that nothing copies it as it grows
	n := 0
	for n < len(typed) {
		k, err := out.Read(typed[n:])
		n += k
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		clear(typed)
		return nil, fmt.Errorf("ask for the PIN: %w", err)
	}
	return line(typed[:n]), nil
}

// line is what was typed before the end of the line; the rest is wiped.
func line(typed []byte) []byte {
	end := bytes.IndexAny(typed, "\r\n")
	if end < 0 {
		return typed
	}
	clear(typed[end:])
	return typed[:end]
}

// terminal asks on the terminal the program was started from.
type terminal struct{}

// Ask shows the question and reads a line with the echo off.
func (terminal) Ask(ctx context.Context, question string) ([]byte, error) {
	back, err := quiet()
	if err != nil {
		return nil, errors.New("there is no terminal to ask on; start with -askpass")
	}
	defer back()
	fmt.Fprint(os.Stderr, question+": ")
	defer fmt.Fprintln(os.Stderr)
	typed := make([]byte, 64)
	got := make(chan int, 1)
	go func() { // a read of a terminal can't be cancelled; its answer may come late
		n, _ := os.Stdin.Read(typed)
		got <- n
	}()
	select {
	case n := <-got:
		return line(typed[:n]), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

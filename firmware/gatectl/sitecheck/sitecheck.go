// Package sitecheck has every daemon judge a site file. Each is run with -check: a
// section is understood by the program that owns it and by nobody else.
package sitecheck

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// judges are the programs that own a section.
var judges = [...]string{"netd", "failoverd", "cardauth", "syncd", "update", "panel"}

// Opinions of a program.
const (
	Accepts  = "accepts"
	Refuses  = "refuses"
	NotAsked = "not asked" // the program is not there or did not come to an end
)

// Verdict is what came of it.
type Verdict struct {
	V          int               `json:"v"` // 1
	File       string            `json:"file"`
	Opinions   map[string]string `json:"opinions"`   // by program
	Complaints []string          `json:"complaints"` // file:line: key: what, one line each
}

// Accepted reports whether every program accepts the file.
func (v Verdict) Accepted() bool { return len(v.Complaints) == 0 }

// Complete reports whether every program was asked.
func (v Verdict) Complete() bool {
	for _, o := range v.Opinions {
		if o == NotAsked {
			return false
		}
	}
	return true
}

const patient = 20 * time.Second

// Check asks all programs, found next to our own or in PATH. own are complaints
// that are known already.
func Check(ctx context.Context, file string, own []string) Verdict {
	v := Verdict{V: 1, File: file, Opinions: map[string]string{}, Complaints: []string{}}
	add := func(lines ...string) {
		for _, l := range lines {
			if l = strings.TrimSpace(l); l != "" && !slices.Contains(v.Complaints, l) {
				v.Complaints = append(v.Complaints, l)
			}
		}
	}
	add(own...)
	for _, name := range judges {
		out, err := ask(ctx, name, file)
		var exit *exec.ExitError
		switch {
		case err == nil:
			v.Opinions[name] = Accepts
		case errors.As(err, &exit) && exit.Exited():
			v.Opinions[name] = Refuses
			if strings.TrimSpace(out) == "" {
				out = name + ": refuses the file without saying why"
			}
			add(strings.Split(out, "\n")...)
		default:
			v.Opinions[name] = NotAsked
			add(name + ": not asked, so its section is not checked: " + err.Error())
		}
	}
	return v
}

func ask(ctx context.Context, name, file string) (string, error) {
	path, err := find(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	out := bounded{left: 64 << 10}
	cmd := exec.CommandContext(ctx, path, "-check", file)
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out.String(), err
}

// find looks next to our own program first: on a box that is the same release.
func find(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), name)
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// bounded keeps the first left bytes and drops the rest.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	keep := p[:min(len(p), b.left)]
	b.left -= len(keep)
	b.Buffer.Write(keep)
	return len(p), nil
}

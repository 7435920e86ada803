package logbook

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/lab"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLinesAreStructured(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for in, want := range map[string]string{
		`{"time":"x","msg":"kept as it is"}` + "\n": `{"time":"x","msg":"kept as it is"}`,
		"00000012 readerfactory.c: \"x\"\r\n":       `{"time":"2026-11-22T08:00:00Z","program":"pcscd","msg":"00000012 readerfactory.c: \"x\""}`,
		"{not json":                                 `{"time":"2026-11-22T08:00:00Z","program":"pcscd","msg":"{not json"}`,
		"":                                          `{"time":"2026-11-22T08:00:00Z","program":"pcscd","msg":""}`,
	} {
		if got := structured("pcscd", []byte(in), now); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	long := structured("x", []byte(strings.Repeat("é", maxLine)), now)
	if !json.Valid([]byte(long)) || len(long) > maxLine+100 {
		t.Errorf("a long line: %d bytes, valid %v", len(long), json.Valid([]byte(long)))
	}
}

func TestMemory(t *testing.T) {
	b := New(Config{Lines: 3, Limit: 1 << 20})
	out := b.Output("netd")
	for i := range 5 {
		fmt.Fprintf(out, `{"n":%d}`, i)
	}
	if got := strings.Join(b.Tail("netd", 9), " "); got != `{"n":2} {"n":3} {"n":4}` {
		t.Errorf("got %s", got)
	}
	if got := b.Tail("netd", 1); len(got) != 1 || got[0] != `{"n":4}` {
		t.Errorf("last line: got %v", got)
	}
	if got := b.Tail("unknown", 9); got != nil {
		t.Errorf("unknown service: got %v", got)
	}
}

func TestFollow(t *testing.T) {
	b := New(Config{Lines: 3})
	ctx, cancel := context.WithCancel(t.Context())
	one, all := b.Follow(ctx, "netd"), b.Follow(ctx, "")
	fmt.Fprint(b.Output("syncd"), `{"a":1}`)
	fmt.Fprint(b.Output("netd"), `{"b":2}`)
	if l := <-one; l.Service != "netd" || l.Text != `{"b":2}` {
		t.Errorf("one service: got %+v", l)
	}
	if l := <-all; l.Service != "syncd" {
		t.Errorf("all services: got %+v", l)
	}
	cancel()
	for range one { // closed once ctx has ended
	}
	for range 1000 { // nobody reads: nobody waits
		fmt.Fprint(b.Output("netd"), "x")
	}
}

func TestFilesTurnPages(t *testing.T) {
	dir := t.TempDir()
	b := New(Config{Lines: 10, Limit: 100})
	fmt.Fprint(b.Output("init"), `{"msg":"before the disk"}`)
	b.Keep(dir)
	for i := range 20 {
		fmt.Fprintf(b.Output("init"), `{"msg":"line %02d of the day"}`, i)
	}
	b.Close()
	now, before := read(t, filepath.Join(dir, "init.log")), read(t, filepath.Join(dir, "init.log.1"))
	if len(now) > 100 || len(before) > 100 || !strings.HasSuffix(now, "line 19 of the day\"}\n") {
		t.Errorf("pages of %d and %d bytes, want 100 at most:\n%s", len(before), len(now), now)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("got %d files, want 2", len(entries))
	}
	if got := len(b.Tail("init", 99)); got != 10 {
		t.Errorf("memory has %d lines", got)
	}
}

func TestFilesGoOnAfterAPowerCut(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "init.log"), []byte("{\"half a li"), 0o640); err != nil {
		t.Fatal(err)
	}
	b := New(Config{Lines: 10, Limit: 1000})
	b.Keep(dir)
	fmt.Fprint(b.Output("init"), `{"msg":"next boot"}`)
	b.Close()
	if got := read(t, filepath.Join(dir, "init.log")); got != "{\"half a li\n{\"msg\":\"next boot\"}\n" {
		t.Errorf("got %q", got)
	}
}

// A disk that takes nothing: writers go on, the trouble is told, and when there
// is room again the file says how many lines it lacks.
func TestFullDisk(t *testing.T) {
	lab.Require(t, lab.Root)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	fs := files{dir: dir, limit: 1 << 20, open: map[string]*file{}}
	now := time.Now()
	long := strings.Repeat("x", 5000)
	if err := fs.append(Line{"syncd", long}, 0, now); err == nil {
		t.Fatal("a full disk went unnoticed")
	}
	if err := fs.append(Line{"syncd", long}, 2, now.Add(retry/2)); err == nil {
		t.Fatal("the trouble was forgotten before the next attempt")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := fs.append(Line{"syncd", `{"msg":"back"}`}, 0, now.Add(retry)); err != nil {
		t.Fatal(err)
	}
	fs.close()
	got := read(t, filepath.Join(dir, "syncd.log"))
	if !strings.Contains(got, `"msg":"lines lost","count":4}`) || !strings.HasSuffix(got, "{\"msg\":\"back\"}\n") {
		t.Errorf("got %q", got)
	}
}

// A disk that hangs: the pipe stands for it, opened by nobody at the other end.
func TestHungDiskStopsNobody(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "syncd.log"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := New(Config{Lines: 10, Limit: 1000})
	b.Keep(dir)
	for range 3 * queued {
		fmt.Fprint(b.Output("syncd"), `{"msg":"x"}`)
	}
	b.mu.Lock()
	lost := b.lost
	b.mu.Unlock()
	if lost < queued {
		t.Errorf("%d lines lost, want %d or more", lost, queued)
	}
	// Let the writer go, so that Close finds an end.
	r, err := os.OpenFile(filepath.Join(dir, "syncd.log"), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b.Close()
}

// A warning is on the disk soon, the rest in a while; a disk that fails at that is said
// once, and the file is opened afresh.
func TestSync(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`{"time":"x","level":"WARN","msg":"a"}`:                      warned,
		`{"time":"x","level":"ERROR","msg":"a"}`:                     warned,
		`{"time":"x","level":"INFO","msg":"a"}`:                      calm,
		`{"time":"x","program":"pcscd","msg":"no level at all"}`:     calm,
		`{"level":"INFO","msg":"it says \"level\":\"WARN\" itself"}`: calm,
	} {
		if got := patience(text); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
	fs := files{dir: t.TempDir(), limit: 1 << 20, open: map[string]*file{}}
	defer fs.close()
	put := func(text string) {
		t.Helper()
		if err := fs.append(Line{"netd", text}, 0, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	put("a")
	if err := fs.sync(); err != nil || fs.open["netd"].dirty {
		t.Errorf("got %v, dirty %v", err, fs.open["netd"].dirty)
	}
	put("b")
	fs.open["netd"].f.Close() // stands for a disk that fails
	if err := fs.sync(); err == nil {
		t.Error("a failed sync is not said")
	}
	if err := fs.sync(); err != nil {
		t.Errorf("it is said again: %v", err)
	}
	put("c")
	if got := read(t, filepath.Join(fs.dir, "netd.log")); got != "a\nb\n\nc\n" {
		t.Errorf("got %q", got)
	}
}

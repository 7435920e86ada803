package logbook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// retry is how long a file that could not be written is left alone.
const retry = 5 * time.Second

// How long what was written may be lost by a power cut. A warning is soon on the disk:
// what came before it is what somebody will ask for. The rest waits, for flash wears.
const (
	warned = time.Second
	calm   = 10 * time.Second
)

// write is the one goroutine that touches the disk; it may hang there while
// services go on.
func (b *Book) write(queue <-chan Line) {
	defer close(b.done)
	defer b.files.close()
	timer := time.NewTimer(calm)
	defer timer.Stop()
	var due time.Time // of the next sync; zero: all is on the disk
	for {
		select {
		case l, ok := <-queue:
			if !ok {
				return
			}
			b.mu.Lock()
			lost := b.lost
			b.lost = 0
			b.mu.Unlock()
			now := time.Now()
			b.judge(b.files.append(l, lost, now))
			if at := now.Add(patience(l.Text)); due.IsZero() || at.Before(due) {
				due = at
				timer.Reset(time.Until(at))
			}
		case <-timer.C:
			if !due.IsZero() {
				due = time.Time{}
				b.judge(b.files.sync())
			}
		}
	}
}

func (b *Book) judge(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trouble = err
}

// patience is how long a line may be in memory alone.
func patience(text string) time.Duration {
	if strings.Contains(text, `"level":"WARN"`) || strings.Contains(text, `"level":"ERROR"`) {
		return warned
	}
	return calm
}

// files is the folder of logs: SERVICE.log and, one generation back,
// SERVICE.log.1. Used by one goroutine.
type files struct {
	dir   string
	limit int64
	open  map[string]*file
	lost  int // lines not written, not yet told
}

type file struct {
	f     *os.File
	size  int64
	dirty bool      // written since the last sync
	after time.Time // not before this, following an error
	err   error
}

// append writes a line, telling first how many were lost before it. The error
// says why this or an earlier line is missing.
func (fs *files) append(l Line, lost int, now time.Time) error {
	fs.lost += lost
	f := fs.open[l.Service]
	if f == nil {
		f = &file{}
		fs.open[l.Service] = f
	}
	if now.Before(f.after) {
		fs.lost++
		return f.err
	}
	text := l.Text + "\n"
	if fs.lost > 0 {
		text = fmt.Sprintf(`{"time":%q,"program":"log","msg":"lines lost","count":%d}`+"\n", now.UTC().Format(time.RFC3339Nano), fs.lost) + text
	}
	if f.err = fs.put(f, l.Service, text); f.err != nil {
		f.after = now.Add(retry)
		fs.lost++
		return f.err
	}
	fs.lost = 0
	return nil
}

// put appends text to the service's file, turning the page when it is full. After
// an error the file is closed, to be opened afresh: a filesystem may have been
// emptied or remounted meanwhile.
func (fs *files) put(f *file, service, text string) error {
	path := filepath.Join(fs.dir, service+".log")
	if f.f != nil && f.size+int64(len(text)) > fs.limit {
		f.f.Close()
		f.f = nil
		// Stop here: no SERVICE.log, the next start makes one.
		if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("turn log page: %w", err)
		}
	}
	if f.f == nil {
		opened, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
		if err != nil {
			return fmt.Errorf("open log: %w", err)
		}
		fi, err := opened.Stat()
		if err != nil {
			opened.Close()
			return fmt.Errorf("open log: %w", err)
		}
		f.f, f.size = opened, fi.Size()
		if f.size > 0 {
			text = "\n" + text // the power may have gone in the middle of a line
		}
	}
	n, err := f.f.WriteString(text)
	f.size, f.dirty = f.size+int64(n), true
	if err != nil {
		f.f.Close()
		f.f = nil
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

// sync makes what was written durable. After an error a file is opened afresh: the
// kernel says so once only, and may have dropped the pages.
func (fs *files) sync() error {
	var failed error
	for _, f := range fs.open {
		if f.f == nil || !f.dirty {
			continue
		}
		f.dirty = false
		if err := f.f.Sync(); err != nil {
			failed = fmt.Errorf("write log to disk: %w", err)
			f.f.Close()
			f.f = nil
		}
	}
	return failed
}

func (fs *files) close() {
	_ = fs.sync()
	for _, f := range fs.open {
		if f.f != nil {
			f.f.Close()
		}
	}
}

// Package collect reads everything the box publishes about itself, at one moment,
// without asking any daemon: a look never waits for one and never disturbs one.
package collect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"clinicgate/firmware/site"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// Source is where to look.
type Source struct {
	Run  string // run directory
	Site string // site file
}

// A Look is what was found.
type Look struct {
	At    time.Time
	Box   status.Box
	Files map[string]json.RawMessage // wire files that could be read, by name
}

// Look reads the files. What is missing or broken is part of the answer, never an
// error.
func (s Source) Look(now time.Time) Look {
	l := Look{At: now, Files: map[string]json.RawMessage{}}
	l.Box.Site, l.Box.SiteErr = Identity(s.Site)
	l.Box.Init = see[wire.Init](s.Run, wire.InitFile, l.Files)
	l.Box.Net = see[wire.Net](s.Run, wire.NetFile, l.Files)
	l.Box.Pair = see[wire.Failover](s.Run, wire.FailoverFile, l.Files)
	l.Box.Card = see[wire.Card](s.Run, wire.CardFile, l.Files)
	l.Box.Sync = see[wire.Sync](s.Run, wire.SyncFile, l.Files)
	l.Box.Update = see[wire.Update](s.Run, wire.UpdateFile, l.Files)
	l.Box.Panel = see[wire.Panel](s.Run, wire.PanelFile, l.Files)
	status.SinceStart(l.Box)
	return l
}

// see reads one wire file and asks the kernel whether its program still runs: a
// killed program leaves a file that looks healthy for ever.
func see[T any, P interface {
	*T
	Head() *wire.Header
}](run, file string, files map[string]json.RawMessage) status.Seen[T] {
	raw, err := wirefile.Read[json.RawMessage](run, file)
	if errors.Is(err, fs.ErrNotExist) {
		return status.Seen[T]{Presence: status.Missing}
	}
	v := new(T)
	if err == nil {
		err = json.Unmarshal(*raw, v)
	}
	if err != nil {
		return status.Seen[T]{Presence: status.Unreadable, Why: err.Error()}
	}
	files[file] = *raw
	seen := status.Seen[T]{V: v, Presence: status.Live}
	if why := gone(P(v).Head().PID, strings.TrimSuffix(file, ".json")); why != "" {
		seen.Presence, seen.Why = status.Dead, why
	}
	return seen
}

// gone says why a process is not the program any more, or "" while it is.
func gone(pid int, program string) string {
	if !wirefile.Alive(pid) {
		return fmt.Sprintf("process %d is gone", pid)
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	name := strings.TrimSpace(string(comm))
	if err == nil && name != program[:min(len(program), 15)] { // the number went to another
		return fmt.Sprintf("process %d is %q now", pid, name)
	}
	return ""
}

// Identity reads the [site] section of a file, or says in the daemons' words why
// it can't be had.
func Identity(path string) (site.Identity, string) {
	base := filepath.Base(path)
	f, err := os.Open(path)
	if err != nil {
		return site.Identity{}, fmt.Sprintf("%s: %v", base, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, site.MaxSize+1))
	if err != nil {
		return site.Identity{}, fmt.Sprintf("%s: %v", base, err)
	}
	parsed, err := site.Parse(base, data)
	if err != nil {
		return site.Identity{}, err.Error()
	}
	id, err := parsed.Identity()
	if err != nil {
		return site.Identity{}, err.Error()
	}
	return id, ""
}

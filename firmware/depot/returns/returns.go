// Package returns takes what boxes report of a rollout and halts it by itself when
// too many have failed. A depot's web server may be any other: then boxes' reports
// are lost and halting is a person's affair, as before.
//
// Whose report it is shows in the address it comes from: boxes ask through their
// tunnel, in which nobody has another's address. One address has one say, so that a
// box that lies can halt nothing alone.
package returns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"clinicgate/firmware/depot"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/rollout"
)

// folder of a depot has the reports, one file an address. It is not served.
const folder = "reports"

// maxBoxes bounds the folder.
const maxBoxes = 10000

// Desk serves a depot and takes reports at POST /reports. Its methods are safe for
// concurrent use.
type Desk struct {
	Dir   string
	Keys  depot.Keys // of the roles rollout, snapshot and timestamp
	Limit rollout.Limit
	Log   *slog.Logger

	mu sync.Mutex // one report at a time: a halt is read, judged and written
}

// Load returns all reports of a depot.
func Load(dir string) ([]rollout.Report, error) {
	files, err := filepath.Glob(filepath.Join(dir, folder, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []rollout.Report
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read report: %w", err)
		}
		r, err := rollout.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// ServeHTTP answers boxes: the depot's two folders, and reports.
func (d *Desk) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/"+folder && req.Method == http.MethodPost {
		d.take(w, req)
		return
	}
	// Keys and reports may lie in the same folder; boxes get what is for them.
	asked := req.URL.Path
	if asked != path.Clean(asked) || !strings.HasPrefix(asked, "/metadata/") && !strings.HasPrefix(asked, "/targets/") {
		http.NotFound(w, req)
		return
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		http.Error(w, "want GET", http.StatusMethodNotAllowed)
		return
	}
	http.FileServer(http.Dir(d.Dir)).ServeHTTP(w, req)
}

func (d *Desk) take(w http.ResponseWriter, req *http.Request) {
	from, err := netip.ParseAddrPort(req.RemoteAddr)
	if err != nil {
		http.Error(w, "no address", http.StatusBadRequest)
		return
	}
	text, err := io.ReadAll(io.LimitReader(req.Body, rollout.MaxReport+1))
	if err != nil {
		return // the box is gone
	}
	r, err := rollout.Parse(text)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.keep(from.Addr().Unmap(), text); err != nil {
		d.Log.Error("keep report", "from", from.Addr(), "err", err)
		http.Error(w, "not kept", http.StatusInsufficientStorage)
		return
	}
	d.Log.Info("report", "from", from.Addr(), "code", r.Code, "ring", r.Ring, "runs", r.Runs, "refused", len(r.Refused))
	if err := d.judge(r.Board, r.Ring); err != nil {
		d.Log.Error("judge rollout", "ring", r.Ring, "err", err) // the report is kept, the next one judges again
	}
	w.WriteHeader(http.StatusNoContent)
}

// keep puts a report in the place of the one from the same address.
func (d *Desk) keep(from netip.Addr, text []byte) error {
	dir := filepath.Join(d.Dir, folder)
	if err := durable.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file := filepath.Join(dir, strings.ReplaceAll(from.WithZone("").String(), ":", "_")+".json")
	if _, err := os.Stat(file); err != nil {
		files, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		if len(files) >= maxBoxes {
			return fmt.Errorf("got a report from %d addresses, want %d at most", len(files)+1, maxBoxes)
		}
	}
	return durable.WriteFile(file, text, 0o644)
}

// judge halts a ring's rollout if too much has failed in it.
func (d *Desk) judge(board, ring string) error {
	depot := depot.Depot{Dir: d.Dir, Now: time.Now()}
	now, err := depot.Ring(board, ring)
	if errors.Is(err, fs.ErrNotExist) || err == nil && now.Halted != "" {
		return nil // nothing rolls there
	}
	if err != nil {
		return err
	}
	reports, err := Load(d.Dir)
	if err != nil {
		return err
	}
	why := d.Limit.Halt(rollout.Tally(reports, board, ring, now.Version))
	if why == "" {
		return nil
	}
	if halted, err := depot.Halt(board, ring, now.Version, why, d.Keys); err != nil || !halted {
		return err // a person has told the ring something else meanwhile
	}
	d.Log.Warn("rollout halted", "board", board, "ring", ring, "release", now.Version, "why", why)
	return nil
}

package returns

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/depot"
	"clinicgate/firmware/release"
	"clinicgate/firmware/rollout"
	"clinicgate/firmware/verity"
)

const board = "qemu-x86_64"

// newDesk is a depot whose ring "all" is to run 1.5.0.
func newDesk(t *testing.T) *Desk {
	t.Helper()
	dir := t.TempDir()
	keys, err := depot.MakeKeys(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	d := depot.Depot{Dir: dir, Now: time.Now()}
	if err := d.Create(keys, nil); err != nil {
		t.Fatal(err)
	}
	images := filepath.Join(dir, release.TargetsFolder, board, "1.5.0")
	if err := os.MkdirAll(images, 0o755); err != nil {
		t.Fatal(err)
	}
	r := release.Release{Version: "1.5.0", Board: board, Images: map[string]release.Image{}}
	for _, n := range []string{"root", "a.efi", "b.efi"} {
		tree, hashes, err := verity.Build(strings.NewReader(n))
		if err != nil {
			t.Fatal(err)
		}
		data := append(make([]byte, verity.Block), hashes...)
		copy(data, n)
		if err := os.WriteFile(filepath.Join(images, n+".img"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		r.Images[n] = release.Image{File: n + ".img", Verity: tree.String(), Length: int64(len(n)), SHA256: strings.Repeat("0", 64)}
	}
	if err := d.Publish(r, keys); err != nil {
		t.Fatal(err)
	}
	if err := d.Steer(board, "all", release.Ring{Version: "1.5.0", Percent: 10}, keys); err != nil {
		t.Fatal(err)
	}
	return &Desk{Dir: dir, Keys: keys, Limit: rollout.Limit{Boxes: 2, Percent: 10}, Log: slog.New(slog.DiscardHandler)}
}

func (d *Desk) ask(from, method, path, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.RemoteAddr = from
	w := httptest.NewRecorder()
	d.ServeHTTP(w, req)
	return w
}

func failed(t *testing.T, n int) string {
	t.Helper()
	text, err := json.Marshal(rollout.Report{V: 1, Code: fmt.Sprintf("ES-VA-%03d", n), Board: board, Ring: "all", Runs: "1.4.0",
		Refused: []rollout.Failure{{Version: "1.5.0", Why: "does not bring up syncd: backoff"}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (d *Desk) ring(t *testing.T) release.Ring {
	t.Helper()
	r, err := depot.Depot{Dir: d.Dir, Now: time.Now()}.Ring(board, "all")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The second box that fails halts the rollout; a box that lies can't do so alone,
// whatever it calls itself.
func TestHaltsByItself(t *testing.T) {
	d := newDesk(t)
	for n := range 5 {
		if w := d.ask("10.99.0.2:4000", http.MethodPost, "/reports", failed(t, n)); w.Code != http.StatusNoContent {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
	}
	if got := d.ring(t); got.Halted != "" {
		t.Fatalf("one address halted it: %s", got.Halted)
	}
	d.ask("10.99.0.3:4000", http.MethodPost, "/reports", failed(t, 9))
	got := d.ring(t)
	if !strings.HasPrefix(got.Halted, "failed on 2 of 2 boxes; ES-VA-004: does not") || got.Version != "1.5.0" || got.Percent != 10 {
		t.Fatalf("got %+v", got)
	}
	// A person goes on: the same reports halt it again, which is their say.
	if err := (depot.Depot{Dir: d.Dir, Now: time.Now()}).Steer(board, "all", release.Ring{Version: "1.5.0", Percent: 10}, d.Keys); err != nil {
		t.Fatal(err)
	}
	d.ask("10.99.0.3:4000", http.MethodPost, "/reports", failed(t, 9))
	if d.ring(t).Halted == "" {
		t.Error("the second time it goes on")
	}
}

func TestAnswers(t *testing.T) {
	d := newDesk(t)
	d.ask("10.99.0.2:4000", http.MethodPost, "/reports", failed(t, 1))
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/metadata/timestamp.json", "", 200},
		{"GET", "/targets/qemu-x86_64/1.5.0/root.img", "", 200},
		{"GET", "/targets/qemu-x86_64/", "", 404},
		{"GET", "/targets/qemu-x86_64", "", 301}, // to the one before, which is none
		{"GET", "/keys/rollout.pem", "", 404},
		{"GET", "/metadata/../keys/rollout.pem", "", 404},
		{"GET", "/targets/../keys/rollout.pem", "", 404},
		{"GET", "/reports/10.99.0.2.json", "", 404},
		{"POST", "/reports", "{", 400},
		{"POST", "/reports", strings.Repeat(" ", rollout.MaxReport+1), 400},
		{"POST", "/metadata/timestamp.json", "x", 405},
	} {
		if w := d.ask("10.99.0.4:1", c.method, c.path, c.body); w.Code != c.want {
			t.Errorf("%s %s: got %d, want %d", c.method, c.path, w.Code, c.want)
		}
	}
	if all, err := Load(d.Dir); err != nil || len(all) != 1 || all[0].Code != "ES-VA-001" {
		t.Errorf("got %+v, %v", all, err)
	}
}

// Whoever is late with a halt does not undo what a person has said since.
func TestHaltOfWhatWasMeant(t *testing.T) {
	d := newDesk(t)
	depot := depot.Depot{Dir: d.Dir, Now: time.Now()}
	if halted, err := depot.Halt(board, "all", "1.4.0", "too late", d.Keys); halted || err != nil {
		t.Errorf("got %v, %v", halted, err)
	}
	if halted, err := depot.Halt(board, "all", "1.5.0", "first", d.Keys); !halted || err != nil {
		t.Errorf("got %v, %v", halted, err)
	}
	if halted, err := depot.Halt(board, "all", "1.5.0", "second", d.Keys); halted || err != nil || d.ring(t).Halted != "first" {
		t.Errorf("got %v, %v, %+v", halted, err, d.ring(t))
	}
}

// Two programs steer at the same time: the depot knows both, and is whole.
func TestSteeredByTwo(t *testing.T) {
	d := newDesk(t)
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			depot := depot.Depot{Dir: d.Dir, Now: time.Now()}
			if err := depot.Steer(board, fmt.Sprintf("ring-%d", n), release.Ring{Version: "1.5.0", Percent: n}, d.Keys); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if rings, err := (depot.Depot{Dir: d.Dir}).Rings(); err != nil || len(rings) != 9 {
		t.Errorf("got %v, %v, want nine rings", rings, err)
	}
}

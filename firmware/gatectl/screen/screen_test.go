package screen

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/site"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

var rewrite = flag.Bool("rewrite", false, "write the screens into testdata; the diff is the review")

var now = time.Date(2026, 11, 22, 8, 34, 0, 0, time.UTC)

func before(d time.Duration) time.Time { return now.Add(-d) }

// golden reads a wire file as another release of the program wrote it.
func golden[T any](t testing.TB, name string) status.Seen[T] {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../wire/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	v := new(T)
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
	return status.Seen[T]{V: v, Presence: status.Live}
}

// morning is a box on a good morning.
func morning(t testing.TB) status.Box {
	b := status.Box{
		Site:   site.Identity{Name: "Peñafiel", Code: "ES-VA-047"},
		Init:   golden[wire.Init](t, wire.InitFile),
		Net:    golden[wire.Net](t, wire.NetFile),
		Pair:   golden[wire.Failover](t, wire.FailoverFile),
		Card:   golden[wire.Card](t, wire.CardFile),
		Sync:   golden[wire.Sync](t, wire.SyncFile),
		Update: golden[wire.Update](t, wire.UpdateFile),
	}
	b.Net.V.Faults, b.Sync.V.Faults, b.Card.V.Faults, b.Pair.V.Faults, b.Init.V.Faults = nil, nil, nil, nil, nil
	a := &b.Net.V.Uplinks[0]
	*a = wire.Uplink{Name: "isp-a", Port: "wan1", State: wire.UplinkUp, Reason: "5 of 5 probes answered", Since: before(2 * time.Hour), Address: "100.64.1.117/24", RTTMS: 8.2}
	a.RxBPS, a.TxBPS = 1.2e6, 80e3
	b.Sync.V.Destinations = []wire.Destination{{Name: "hospital", Kind: "stow", State: "ok"}}
	b.Sync.V.Held, b.Sync.V.Mirror = 0, nil
	b.Sync.V.Lanes = []wire.Lane{{Name: "stat", Delivered: 3}, {Name: "routine", Delivered: 9}, {Name: "bulk"}}
	b.Sync.V.Cache.LastContact = before(40 * time.Second)
	b.Update.V.State, b.Update.V.Wanted, b.Update.V.Why, b.Update.V.Of, b.Update.V.Done = wire.UpdateIdle, "", "", 0, 0
	return b
}

var menu = []Item{
	{"status", "how the box is, in words"}, {"doctor", "what is wrong, why, and what to do"}, {"lines", "which provider is dead, and whose fault it is"},
	{"queue", "what waits to be sent"}, {"log", "what the services said lately"}, {"support", "a file for cloud ops"}, {"reboot", "start the box afresh"},
}

// screens are moments that people have to understand at once.
func screens(t testing.TB) map[string]*Model {
	all := map[string]*Model{}
	play := func(name string, steps int, each func(b *status.Box, step int)) *Model {
		m := New(menu)
		for i := range steps {
			b := morning(t)
			each(&b, i)
			m.Look(b, now.Add(time.Duration(i-steps+1)*4*time.Second))
		}
		all[name] = m
		return m
	}
	play("morning", 30, func(b *status.Box, i int) {
		b.Net.V.Uplinks[0].RTTMS = 8 + float64(i%7)*6
		b.Net.V.Uplinks[1].RxBPS = float64(i) * 40e3
	})
	down := func(b *status.Box) {
		u := &b.Net.V.Uplinks[0]
		u.State, u.Reason, u.LossPct, u.RTTMS, u.RxBPS, u.TxBPS = wire.UplinkDown, "3 probes unanswered; the gateway answers", 100, 0, 0, 0
		u.Since = before(70 * time.Second)
		b.Net.V.Active = "isp-b"
		b.Net.V.Faults = []wire.Fault{{ID: "uplink.down", Severity: wire.Alarm, Where: "uplink isp-a", What: "nothing comes back through isp-a; its gateway 100.64.1.1 answers",
			Do: "call isp-a: the fault is behind their modem", Since: before(70 * time.Second)}}
	}
	play("line-dies", 20, func(b *status.Box, i int) {
		if i > 5 {
			down(b)
		}
	})
	play("backlog", 20, func(b *status.Box, i int) {
		down(b)
		b.Sync.V.Lanes = []wire.Lane{
			{Name: "stat", Waiting: 1, Bytes: 291e3, Oldest: before(20 * time.Second), Delivered: 3},
			{Name: "routine", Waiting: 20 - i, Bytes: int64(20-i) * 1e6, Oldest: before(8 * time.Minute), Delivered: 9 + uint64(i)},
			{Name: "bulk", Waiting: 2, Bytes: 210e6, Oldest: before(time.Hour)},
		}
		b.Sync.V.Held = 1
		b.Update.V.State, b.Update.V.Wanted, b.Update.V.Of, b.Update.V.Done = wire.UpdateFetching, "1.5.0", 30e6, int64(i)*1e6
	})
	play("first-boot", 1, func(b *status.Box, _ int) {
		missing := "site.toml: open /data/site/site.toml: no such file or directory"
		*b = status.Box{SiteErr: missing, Init: b.Init, Net: status.Seen[wire.Net]{Presence: status.Live, V: &wire.Net{Header: wire.Header{Faults: []wire.Fault{
			{ID: "site.unusable", Severity: wire.Alarm, Where: "netd", What: missing, Do: "mend the site file; until then netd waits", Since: before(20 * time.Second)},
		}}}}}
		b.Pair.Presence, b.Card.Presence, b.Sync.Presence = status.Missing, status.Missing, status.Dead
	})
	play("hostile", 2, func(b *status.Box, _ int) {
		evil := "\x1b[2J\x07\x00" + strings.Repeat("Ж", 300)
		b.Site.Name, b.Net.V.Uplinks[0].Name, b.Net.V.Uplinks[0].Reason, b.Net.V.Uplinks[0].State = evil, evil, evil, evil
		b.Net.V.Tunnels[0].Reason, b.Card.V.Readers[0].Room = evil, evil
		b.Sync.V.Lanes[0].Name, b.Sync.V.Lanes[0].Waiting, b.Sync.V.Lanes[0].Delivered = evil, -1<<62, 1<<63
		b.Update.V.State, b.Update.V.Of, b.Update.V.Done = evil, -5, 1<<62
	})
	m := play("page", 1, func(*status.Box, int) {})
	m.Type([]byte("log netd\r"))
	for i := range 60 {
		m.Say(fmt.Sprintf("11-22 08:30:%02d WARN  netd      fault %d %s\n", i, i, strings.Repeat("long ", i/4)))
	}
	m.Over("")
	m = play("question", 1, func(*status.Box, int) {})
	m.Type([]byte("7\r"))
	m.Ask("The clinic is without this box for about a minute. Type yes:", false)
	m.Type([]byte("ye"))
	return all
}

func TestScreens(t *testing.T) {
	for name, m := range screens(t) {
		t.Run(name, func(t *testing.T) {
			rows, x, y := m.Rows()
			check(t, m, rows, x, y)
			got := strings.Join(rows, "\n") + "\n"
			path := filepath.Join("testdata", name+".screen")
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// check holds what is true of every screen.
func check(t *testing.T, m *Model, rows []string, x, y int) {
	t.Helper()
	width, height := m.Size()
	if len(rows) != height || x < 0 || x >= width || y < 0 || y >= height {
		t.Fatalf("%d rows, cursor %d,%d on %dx%d", len(rows), x, y, width, height)
	}
	bytes := 0
	for _, row := range rows {
		if len(row) >= width {
			t.Errorf("row of %d on %d: %q", len(row), width, row)
		}
		if i := strings.IndexFunc(row, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			t.Errorf("row %q", row)
		}
		bytes += len(row) + 2
	}
	if width <= Width && height <= Height && bytes > 2000 {
		t.Errorf("a whole screen is %d bytes", bytes)
	}
}

// Every size is drawn, from a stamp to a wall.
func TestSizes(t *testing.T) {
	for name, m := range screens(t) {
		for _, size := range [][2]int{{0, 0}, {1, 1}, {20, 6}, {40, 10}, {80, 12}, {132, 50}, {1 << 20, 1 << 20}, {-3, 7}} {
			m.Resize(size[0], size[1])
			rows, x, y := m.Rows()
			check(t, m, rows, x, y)
			if w, h := m.Size(); w >= 40 && h >= 10 && m.page == nil && !strings.Contains(strings.Join(rows[:4], "\n"), "STATUS") {
				t.Errorf("%s at %v: no status", name, size)
			}
		}
	}
}

// However full the screen is, the first thing that is wrong is on it, whole.
func TestFirstAlarmIsShown(t *testing.T) {
	m := screens(t)["backlog"]
	rows, _, _ := m.Rows()
	if text := strings.Join(rows, "\n"); !strings.Contains(text, "DO: call isp-a: the fault is behind their modem") {
		t.Errorf("no advice in\n%s", text)
	}
}

var pictures = flag.String("pictures", "", "write the screens as pictures into this `folder`")

// TestPictures draws what a terminal shows, for the documents.
func TestPictures(t *testing.T) {
	folder := *pictures
	if folder == "" {
		folder = t.TempDir()
	}
	for name, m := range screens(t) {
		if name == "hostile" {
			continue
		}
		rows, _, _ := m.Rows()
		var b strings.Builder
		b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" width="752" height="452" role="img" aria-label="the serial console: ` + name + `"><rect width="100%" height="100%" fill="#101010"/><g font-family="DejaVu Sans Mono, monospace" font-size="15" fill="#d8f0d8" xml:space="preserve">` + "\n")
		for i, row := range rows {
			text := strings.NewReplacer("&", "&amp;", "<", "&lt;").Replace(row)
			if row != "" {
				fmt.Fprintf(&b, `<text x="12" y="%d" textLength="%d" lengthAdjust="spacingAndGlyphs">%s</text>`+"\n", 22+i*18, len(row)*9, text)
			}
		}
		b.WriteString("</g></svg>\n")
		if err := os.WriteFile(filepath.Join(folder, "console-"+name+".svg"), []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

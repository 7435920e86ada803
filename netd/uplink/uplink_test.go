package uplink

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"

	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write what the machine does into testdata")

// TestScripts plays testdata/*.txt. A line is a command; the indented lines below
// it are what the machine must answer, written anew by -rewrite:
//
//	config every=500ms lost=3 back=5
//	link up | link down WHY
//	address yes | address no WHY
//	answered N [RTT]   N rounds of probes, each answered after RTT (20ms)
//	lost N             N rounds of probes, none answered
//	wait D             time passes, no steady probe is sent
//	talk D             the same, with a packet out each 20 ms and nothing in
//	chat D             the same, with a packet out and one in each 20 ms
//	said               one packet leaves
//	asleep D           time passes and nobody looks
//	quick RTT|lost     what becomes of quick probes from now on (lost)
//	portal HOST|none   who answers instead of the internet
//	names ok|WHY       whether names resolve
//	status             RTT and loss
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(text) && !*rewrite {
				t.Errorf("got:\n%s\nwant:\n%s", got, text)
			}
		})
	}
}

// A player runs one script; its clock starts at zero.
type player struct {
	m     *Machine
	start time.Time
	now   time.Time
	seq   uint64
	last  string
	due   []answer
	quick time.Duration // round trip of quick probes; 0: lost
	out   bool          // something leaves every 20 ms
	in    bool          // ... and comes in
	count int           // of quick probes
	text  strings.Builder
}

type answer struct {
	seq uint64
	at  time.Time
}

func play(t *testing.T, text string) string {
	p := &player{start: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
	p.now = p.start
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "\t") {
			continue // an old answer
		}
		p.text.WriteString(line)
		if f := strings.Fields(line); len(f) > 0 && f[0] != "#" {
			if err := p.do(f); err != nil {
				t.Fatalf("%q: %v", strings.TrimSpace(line), err)
			}
		}
	}
	return p.text.String()
}

func (p *player) do(f []string) error {
	why := ""
	if len(f) > 2 {
		why = strings.Join(f[2:], " ")
	}
	switch f[0] {
	case "config":
		var every string
		var cfg Config
		if _, err := fmt.Sscanf(strings.Join(f[1:], " "), "every=%s lost=%d back=%d", &every, &cfg.Lost, &cfg.Back); err != nil {
			return err
		}
		cfg.Every, _ = time.ParseDuration(every)
		p.m = New(cfg, p.now)
		p.say()
	case "link":
		p.m.Link(f[1] == "up", why, p.now)
		p.say()
	case "address":
		p.m.Address(f[1] == "yes", why, p.now)
		p.say()
	case "answered", "lost":
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return err
		}
		rtt := 20 * time.Millisecond
		if why != "" {
			rtt, err = time.ParseDuration(why)
		}
		for range n {
			p.round(f[0] == "answered", rtt)
		}
		return err
	case "wait":
		d, err := time.ParseDuration(f[1])
		p.pass(d)
		return err
	case "talk", "chat":
		d, err := time.ParseDuration(f[1])
		p.out, p.in = true, f[0] == "chat"
		p.pass(d)
		p.out, p.in = false, false
		return err
	case "said":
		p.m.Said(1, p.now)
	case "asleep":
		d, err := time.ParseDuration(f[1])
		p.now = p.now.Add(d)
		p.m.Asleep(p.now)
		return err
	case "quick":
		p.quick, _ = time.ParseDuration(f[1]) // lost is 0
	case "portal":
		p.m.Portal(strings.TrimPrefix(f[1], "none"), p.now)
		p.say()
	case "names":
		p.m.Names(strings.TrimPrefix(strings.Join(f[1:], " "), "ok"), p.now)
		p.say()
	case "status":
		st := p.m.Status()
		fmt.Fprintf(&p.text, "\t%s: rtt %v, loss %.0f %%, for %v", st.State, st.RTT.Round(time.Millisecond), st.Loss, p.now.Sub(st.Since))
		if p.count > 0 {
			fmt.Fprintf(&p.text, ", %d quick probes so far", p.count)
		}
		p.text.WriteByte('\n')
	default:
		return fmt.Errorf("unknown command %q", f[0])
	}
	return nil
}

// round sends one round of probes and lets one interval pass.
func (p *player) round(answered bool, rtt time.Duration) {
	p.seq++
	p.m.Sent(p.seq, p.now)
	if answered {
		p.due = append(p.due, answer{p.seq, p.now.Add(rtt)})
	}
	p.say()
	p.pass(p.m.cfg.Every)
}

// pass lets time pass in steps of 10 ms.
func (p *player) pass(d time.Duration) {
	for end := p.now.Add(d); p.now.Before(end); {
		p.now = p.now.Add(10 * time.Millisecond)
		if p.out && p.now.Sub(p.start)%(20*time.Millisecond) == 0 {
			p.m.Said(1, p.now)
			if p.in {
				p.m.Heard()
			}
		}
		if p.m.Ask(p.now) {
			p.seq++
			p.count++
			p.m.Asked(p.seq, p.now)
			if p.quick > 0 {
				p.due = append(p.due, answer{p.seq, p.now.Add(p.quick)})
			}
		}
		for len(p.due) > 0 && !p.due[0].at.After(p.now) {
			p.m.Answered(p.due[0].seq, p.now)
			p.due = p.due[1:]
		}
		p.m.Tick(p.now)
		p.say()
	}
}

// say writes the state when it or its reason changed.
func (p *player) say() {
	st := p.m.Status()
	if text := st.State + ": " + st.Reason; text != p.last {
		fmt.Fprintf(&p.text, "\t%v %s\n", p.now.Sub(p.start), text)
		p.last = text
	}
}

// TestAlways checks what must hold after any sequence of events.
func TestAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
		m := New(Config{Every: 500 * time.Millisecond, Lost: 3, Back: 5}, now)
		seq := uint64(0)
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 700).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 10).Draw(t, "event") {
			case 0:
				m.Link(rapid.Bool().Draw(t, "link"), "no carrier", now)
			case 1:
				m.Address(rapid.Bool().Draw(t, "address"), "no lease", now)
			case 2, 3, 4:
				seq++
				m.Sent(seq, now)
			case 5, 6, 7:
				m.Answered(rapid.Uint64Range(0, seq).Draw(t, "seq"), now)
			case 8:
				m.Said(rapid.IntRange(0, 3).Draw(t, "said"), now)
				if m.Ask(now) {
					seq++
					m.Asked(seq, now)
				}
			case 9:
				switch rapid.IntRange(0, 3).Draw(t, "rare") {
				case 0:
					m.Portal(rapid.SampledFrom([]string{"", "portal.example"}).Draw(t, "portal"), now)
				case 1:
					m.Names(rapid.SampledFrom([]string{"", "no answer"}).Draw(t, "names"), now)
				case 2:
					m.Heard()
				default:
					m.Asleep(now)
				}
			default:
				m.Tick(now)
			}
			st := m.Status()
			switch {
			case Usable(st.State) && (!m.link || !m.address):
				t.Fatalf("%s without link or address", st.State)
			case !m.link && st.State != wire.UplinkNoLink:
				t.Fatalf("%s without link", st.State)
			case st.Reason == "" || st.Since.After(now):
				t.Fatalf("no reason or future: %+v", st)
			case st.Stall && (st.State != wire.UplinkDown || !st.Failed):
				t.Fatalf("stalled and %s", st.State)
			case (st.State == wire.UplinkCaptive) != (m.portal != ""):
				t.Fatalf("%s with portal %q", st.State, m.portal)
			case len(m.doubt.asked) > burst+int(stall/stallGap)+1 || m.damp.penalty > penaltyMost:
				t.Fatalf("%d quick probes, penalty %v", len(m.doubt.asked), m.damp.penalty)
			case st.Loss < 0 || st.Loss > 100 || len(m.probes) > window:
				t.Fatalf("%+v with %d probes", st, len(m.probes))
			}
		}
	})
}

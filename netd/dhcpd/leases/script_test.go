package leases

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/netd/config"
)

var update = flag.Bool("update", false, "write what the scripts say into them")

// A play is one script being played. Its words:
//
//	box POOL [half=H] [lease=D]        a box at 10.20.0.2, of a pair at 10.20.0.1
//	reserve DEVICE ADDRESS NAME        before the first question
//	answers yes|no                     whether the box is master
//	discover|request|decline|release|inform DEVICE [id=X] [wants=A] [has=A] [from=SERVER]
//	quiet, busy                        nobody, or somebody, has the address probed for
//	wait D                             time passes
//	restart [D]                        with what was stored, the clock off by D
//	counts, trouble                    what people are told
//
// DEVICE is the last byte of a MAC. Lines with > are what must come of it.
type play struct {
	cfg    config.Addresses
	table  *Table
	now    time.Time
	probe  *Question
	at     netip.Addr
	stored []Lease
}

func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts")
	}
	for _, path := range scripts {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			p := &play{now: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
			var got strings.Builder
			for line := range strings.Lines(string(text)) {
				if strings.HasPrefix(line, ">") {
					continue
				}
				got.WriteString(line)
				command, _, _ := strings.Cut(line, "#")
				if words := strings.Fields(command); len(words) > 0 {
					for out := range strings.Lines(p.do(t, words)) {
						got.WriteString("> " + out)
					}
				}
			}
			if *update {
				if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got.String() != string(text) {
				t.Errorf("got:\n%s", got.String())
			}
		})
	}
}

// boxes start the table at the first command that needs one.
func (p *play) start() {
	if p.table == nil {
		p.table = New(p.cfg)
		p.table.Answer(true, p.now)
	}
}

func (p *play) do(t *testing.T, words []string) string {
	switch words[0] {
	case "box":
		p.box(words[1:])
		return ""
	case "reserve":
		p.cfg.Reservations = append(p.cfg.Reservations, config.Reservation{MAC: mac(words[1]), Address: addr(words[2]), Name: words[3]})
		return ""
	}
	p.start()
	switch words[0] {
	case "answers":
		p.table.Answer(words[1] == "yes", p.now)
	case "wait":
		p.now = p.now.Add(span(words[1]))
	case "restart":
		p.restart(words[1:])
	case "quiet", "busy":
		if p.probe == nil {
			return "nothing is probed\n"
		}
		q := *p.probe
		p.probe = nil
		return p.reply(q, p.table.Probed(q, p.at, words[0] == "busy", p.now))
	case "counts":
		used, size := p.table.Counts(p.now)
		return fmt.Sprintf("%d of %d in use\n", used, size)
	case "trouble":
		return fmt.Sprintf("exhausted=%v other=%v taken=%v\n", p.table.Exhausted(p.now), p.table.OtherServer(p.now), p.table.Taken(p.now))
	default:
		q := question(t, words)
		return p.reply(q, p.table.Ask(q, p.now))
	}
	return ""
}

func (p *play) box(words []string) {
	from, to, _ := strings.Cut(words[0], "-")
	p.cfg = config.Addresses{Own: netip.MustParsePrefix("10.20.0.2/24"), Gateway: addr("10.20.0.1"), First: addr(from), Last: addr(to), Lease: time.Hour}
	for _, w := range words[1:] {
		switch k, v, _ := strings.Cut(w, "="); k {
		case "half":
			p.cfg.Half = v
		case "lease":
			p.cfg.Lease = span(v)
		}
	}
}

func (p *play) restart(off []string) {
	if len(off) > 0 {
		p.now = p.now.Add(span(off[0]))
	}
	data, _ := json.Marshal(p.stored)
	var back []Lease
	if err := json.Unmarshal(data, &back); err != nil {
		panic(err)
	}
	p.table = New(p.cfg)
	p.table.Load(back, p.now)
	p.table.Answer(true, p.now)
}

func (p *play) reply(q Question, r Reply) string {
	if r.Lease != nil {
		p.stored = append(p.stored, *r.Lease)
	}
	var out string
	switch r.Do {
	case Nothing:
		out = "nothing"
	case Probe:
		p.probe, p.at = &q, r.Address
		out = fmt.Sprintf("probe %v", r.Address)
	case Offer:
		out = fmt.Sprintf("offer %v for %v", r.Address, r.Time)
	case Ack:
		out = fmt.Sprintf("ack %v for %v", r.Address, r.Time)
	case Nak:
		out = "nak"
	case Keep:
		out = "keep"
	}
	if r.Why != "" {
		out += ": " + r.Why
	}
	return out + "\n"
}

func question(t *testing.T, words []string) Question {
	kinds := map[string]Kind{"discover": Discover, "request": Request, "decline": Decline, "release": Release, "inform": Inform}
	kind, ok := kinds[words[0]]
	if !ok {
		t.Fatalf("no such word: %v", words)
	}
	q := Question{Kind: kind, MAC: mac(words[1]), ID: "01" + strings.ReplaceAll(mac(words[1]).String(), ":", "")}
	for _, w := range words[2:] {
		switch k, v, _ := strings.Cut(w, "="); k {
		case "id":
			q.ID = v
		case "wants":
			q.Wanted = addr(v)
		case "has":
			q.Has = addr(v)
		case "from":
			q.Server = addr(v)
		}
	}
	return q
}

func mac(last string) config.MAC {
	var m config.MAC
	fmt.Sscanf("525400200000"[:10]+last, "%02x%02x%02x%02x%02x%02x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5])
	return m
}

// addr completes ".5" to an address of the LAN.
func addr(s string) netip.Addr {
	if strings.HasPrefix(s, ".") {
		s = "10.20.0" + s
	}
	return netip.MustParseAddr(s)
}

func span(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}

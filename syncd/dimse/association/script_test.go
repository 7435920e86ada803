package association

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/syncd/dimse/pdu"
)

var rewrite = flag.Bool("rewrite", false, "write what happened into the scripts")

// The scripts use short names for UIDs.
var uids = strings.NewReplacer(
	"verification", "1.2.840.10008.1.1", "ecg12", "1.2.840.10008.5.1.4.1.1.9.1.1", "find", "1.2.840.10008.5.1.4.1.2.1.1",
	"implicit", "1.2.840.10008.1.2", "explicit", "1.2.840.10008.1.2.1", "jpeg2000", "1.2.840.10008.1.2.4.90")

// Each script in testdata is a session: a line is an input, the lines under it
// that start with ">" are what the machine did, then its state and deadline.
//
//	at 5s               sets the time since connecting
//	rq CALLER CALLED CONTEXT...   an A-ASSOCIATE-RQ; a context is ID=class/syntax,syntax
//	data CONTEXT [empty] fragments; release-rq, abort, ac, rj, release-rp: PDUs
//	invalid, closed, expire, our-abort, worked TIME: the other inputs
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func play(t *testing.T, script string) string {
	policy := Policy{
		Title: "CLINICGATE", Callers: []string{"ECGCART", "ECHO"}, MaxPDU: 65536, ClassUID: "2.25.1", Version: "TEST",
		Classes: map[string][]string{uids.Replace("verification"): {uids.Replace("implicit")},
			uids.Replace("ecg12"): {uids.Replace("implicit"), uids.Replace("explicit")}},
		Full: strings.Contains(script, "\nfull\n"),
	}
	start := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	now := start
	m := New(policy, Timing{ARTIM: 30 * time.Second, Idle: 2 * time.Minute}, start)
	var out strings.Builder
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, ">") {
			continue
		}
		out.WriteString(line)
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") || words[0] == "full" {
			continue
		}
		if words[0] == "at" {
			d, err := time.ParseDuration(words[1])
			if err != nil {
				t.Fatal(err)
			}
			now = start.Add(d)
			continue
		}
		for _, a := range input(t, m, now, words) {
			fmt.Fprintf(&out, "> %v%v\n", a, detail(a))
		}
		fmt.Fprintf(&out, "> %v", m.State())
		if m.State() != Over {
			fmt.Fprintf(&out, " until %v", m.Deadline().Sub(start))
		}
		out.WriteString("\n")
	}
	return out.String()
}

func input(t *testing.T, m *Machine, now time.Time, words []string) []Action {
	pdus := map[string]pdu.PDU{
		"release-rq": &pdu.ReleaseRQ{}, "release-rp": &pdu.ReleaseRP{}, "abort": &pdu.Abort{},
		"ac": &pdu.AssociateAC{}, "rj": &pdu.AssociateRJ{Result: 1, Source: 1, Reason: 1},
	}
	if p := pdus[words[0]]; p != nil {
		return m.Receive(now, p)
	}
	switch words[0] {
	case "rq":
		return m.Receive(now, request(t, words))
	case "data":
		var id byte
		fmt.Sscan(words[1], &id)
		v := pdu.PDV{Context: id, Value: []byte{1}}
		if len(words) > 2 && words[2] == "empty" {
			v.Value = nil
		}
		return m.Receive(now, &pdu.Data{PDVs: []pdu.PDV{v}})
	case "invalid":
		return m.Invalid(now, pdu.AbortUnrecognized, "no PDU")
	case "closed":
		return m.Closed()
	case "expire":
		return m.Expire(now)
	case "our-abort":
		return m.Abort(now, "we stop")
	case "worked":
		took, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatal(err)
		}
		m.Worked(took)
		return nil
	}
	t.Fatalf("script: %q", words)
	return nil
}

func request(t *testing.T, words []string) *pdu.AssociateRQ {
	rq := &pdu.AssociateRQ{Version: 1, Calling: words[1], Called: words[2], Application: pdu.ApplicationContextUID}
	for _, w := range words[3:] {
		switch w {
		case "version=2":
			rq.Version = 2
			continue
		case "application=other":
			rq.Application = "1.2.3"
			continue
		case "max=100":
			rq.User.MaxLength = 100
			continue
		}
		id, rest, _ := strings.Cut(w, "=")
		class, syntaxes, ok := strings.Cut(rest, "/")
		c := pdu.Context{Abstract: uids.Replace(class)}
		if _, err := fmt.Sscan(id, &c.ID); err != nil || !ok {
			t.Fatalf("script: context %q", w)
		}
		for _, s := range strings.Split(syntaxes, ",") {
			c.Transfer = append(c.Transfer, uids.Replace(s))
		}
		rq.Contexts = append(rq.Contexts, c)
	}
	return rq
}

// detail shows the answers to the contexts.
func detail(a Action) string {
	s, ok := a.(Send)
	if !ok {
		return ""
	}
	ac, ok := s.PDU.(*pdu.AssociateAC)
	if !ok {
		return ""
	}
	var b strings.Builder
	for _, r := range ac.Results {
		fmt.Fprintf(&b, " %d=", r.ID)
		if r.Reason == pdu.ContextAccepted {
			b.WriteString(r.Transfer)
		} else {
			fmt.Fprintf(&b, "refused:%d", r.Reason)
		}
	}
	return b.String()
}

// Whatever order inputs come in, a state other than Over has a deadline ahead of
// its last input, Over is final, and a connection ends once.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 1, 2})
	f.Fuzz(func(t *testing.T, inputs []byte) {
		now := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
		m := New(Policy{Title: "T", Classes: map[string][]string{"1.2": {"1.3"}}}, Timing{ARTIM: time.Second, Idle: time.Minute}, now)
		rq := &pdu.AssociateRQ{Version: 1, Called: "T", Calling: "C", Application: pdu.ApplicationContextUID,
			Contexts: []pdu.Context{{ID: 1, Abstract: "1.2", Transfer: []string{"1.3"}}}}
		steps := []func() []Action{
			func() []Action { return m.Receive(now, rq) },
			func() []Action { return m.Receive(now, &pdu.Data{PDVs: []pdu.PDV{{Context: 1}}}) },
			func() []Action { return m.Receive(now, &pdu.Data{PDVs: []pdu.PDV{{Context: 3}}}) },
			func() []Action { return m.Receive(now, &pdu.ReleaseRQ{}) },
			func() []Action { return m.Receive(now, &pdu.Abort{}) },
			func() []Action { return m.Receive(now, &pdu.AssociateRJ{}) },
			func() []Action { return m.Invalid(now, pdu.AbortParameter, "x") },
			func() []Action { return m.Abort(now, "x") },
			m.Closed,
			func() []Action { return m.Expire(now) },
			func() []Action { now = now.Add(700 * time.Millisecond); return m.Expire(now) },
		}
		ends := 0
		for _, in := range inputs {
			was := m.State()
			actions := steps[int(in)%len(steps)]()
			for _, a := range actions {
				if _, ok := a.(End); ok {
					ends++
				}
			}
			if ends > 1 || m.State() == Over && ends == 0 {
				t.Fatalf("%d ends", ends)
			}
			if was == Over && (len(actions) > 0 || m.State() != Over) {
				t.Fatalf("after the end: %v", actions)
			}
			if m.State() != Over && m.Deadline().Sub(now) > time.Minute {
				t.Fatalf("deadline %v after %v", m.Deadline(), now)
			}
			if was != Over && m.State() == Over && actions[len(actions)-1] != (Disconnect{}) {
				t.Fatalf("ended without disconnecting: %v", actions)
			}
		}
	})
}

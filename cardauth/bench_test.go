package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"clinicgate/cardauth/card"
	"clinicgate/cardauth/pcsc"
	"clinicgate/cardauth/proof"
	"clinicgate/firmware/lab/figures"
	"clinicgate/firmware/lab/pcscd"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

// spread is the figures of one thing measured often: its median and its 95th
// percentile.
func spread(metric string, all []time.Duration) []figures.Figure {
	return []figures.Figure{
		{Metric: metric, Value: ms(quantile(all, 0.5)), Unit: "ms", N: len(all)},
		{Metric: metric + "_p95", Value: ms(quantile(all, 0.95)), Unit: "ms", N: len(all)},
	}
}

func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// against adds the peer to a figure.
func against(f figures.Figure, peer string, theirs []time.Duration, q float64) figures.Figure {
	f.Peer, f.PeerValue = peer, ms(quantile(theirs, q))
	if f.PeerValue > 0 {
		f.Ratio = f.Value / f.PeerValue
	}
	return f
}

// BenchmarkCard: what a doctor waits for, and what a stolen moment is worth, at a
// reader of the box's own and at a workstation's behind a cable of 40 ms each way;
// beside the same commands sent to the same card by nothing but PC/SC. The virtual
// card answers at once, so that all there is beside it shows; the figures named
// "slow" are of one that takes its time as pivcard.RealPace assumes.
func BenchmarkCard(b *testing.B) {
	for b.Loop() {
		var quick, slow *pivcard.Card
		var bare, bareSlow []time.Duration
		d := newDesk(b, func(d *desk) {
			quick = d.card(d.world.Professionals, "1")
			slow = d.card(d.world.Professionals, "2", pivcard.WithPace(pivcard.RealPace()))
			bare, bareSlow = d.bareLogins(quick, 200), d.bareLogins(slow, 20)
		})
		all := d.local(b, "card.", quick, 40, bare)
		all = append(all, d.local(b, "card.slow_", slow, 10, bareSlow)...)
		all = append(all, d.thousand(b, quick)...)
		all = append(all, d.underLoad(b, quick))
		all = append(all, remote(b)...)
		figures.Write(b, "card", all)
	}
}

// bareLogins sends what a login sends, by PC/SC alone: who the card is, how many
// tries, the PIN, one signature.
func (d *desk) bareLogins(c *pivcard.Card, n int) (all []time.Duration) {
	d.t.Helper()
	if err := os.Setenv("PCSCLITE_CSOCK_NAME", d.pcscd.Socket()); err != nil {
		d.t.Fatal(err)
	}
	if err := d.slot.Insert(c); err != nil {
		d.t.Fatal(err)
	}
	var held *pcsc.Card
	for end := time.Now().Add(10 * time.Second); held == nil; time.Sleep(50 * time.Millisecond) {
		var err error
		if held, err = pcsc.Connect(pcscd.ReaderName); err != nil && time.Now().After(end) {
			d.t.Fatal(err)
		}
	}
	for range n {
		start := time.Now()
		if err := bareLogin(held); err != nil {
			d.t.Fatal(err)
		}
		all = append(all, time.Since(start))
	}
	held.Close()
	d.slot.Remove()
	time.Sleep(time.Second) // for pcscd to see it
	return all
}

func bareLogin(held *pcsc.Card) error {
	c, err := card.Select(held)
	if err != nil {
		return err
	}
	if _, err := c.Certificate(proof.Authentication); err != nil {
		return err
	}
	if _, err := c.Tries(); err != nil {
		return err
	}
	if err := c.Verify([]byte(rightPIN)); err != nil {
		return err
	}
	_, err = c.Sign(proof.Authentication, proof.P256, []byte("message"))
	return err
}

// local is a reader of the box's own, with the card put in often.
func (d *desk) local(b *testing.B, name string, c *pivcard.Card, often int, bare []time.Duration) []figures.Figure {
	var inserted, login, removed []time.Duration
	for range often {
		start := time.Now()
		if err := d.slot.Insert(c); err != nil {
			b.Fatal(err)
		}
		d.until("the card in", reader(wire.ReaderCard))
		var a answer
		for i := range 5 {
			typed := time.Now()
			a = d.login(rightPIN)
			login = append(login, time.Since(typed))
			if a.Status != http.StatusOK {
				b.Fatalf("login: %+v", a)
			}
			seen := d.until("the session", lists(a.Session.ID))
			if i == 0 {
				inserted = append(inserted, seen.Sub(start))
			}
		}
		out := time.Now()
		d.slot.Remove()
		gone := d.until("no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 })
		removed = append(removed, gone.Sub(out))
		d.refused(d.call(d.ws, "/v1/renew", a.Token, ""), http.StatusUnauthorized, "session-over")
		d.until("an empty reader", reader(wire.ReaderEmpty))
	}
	all := spread(name+"login_ms", login)
	for i, q := range []float64{0.5, 0.95} {
		all[i] = against(all[i], "bare APDUs", bare, q)
	}
	all = append(all, spread(name+"insert_to_session_ms", inserted)...)
	return append(all, spread(name+"removal_ms", removed)...)
}

// underLoad is how many sessions a busy machine ends though the card is there.
func (d *desk) underLoad(b *testing.B, c *pivcard.Card) figures.Figure {
	const seconds = 30
	d.insert(c)
	a := d.mustLogin()
	for range 2 * runtime.NumCPU() {
		hog := exec.Command("sh", "-c", "while :; do :; done")
		if err := proc.Bound(hog); err != nil {
			b.Fatal(err)
		}
		defer func() { _ = hog.Process.Kill(); _ = hog.Wait() }()
	}
	ended := 0
	for range seconds {
		time.Sleep(time.Second)
		if a = d.call(d.ws, "/v1/renew", a.Token, ""); a.Status != http.StatusOK {
			ended++
			a = d.mustLogin()
		}
	}
	d.remove()
	return figures.Figure{Metric: "card.busy_ended", Value: float64(ended), Peer: "seconds with 2 busy loops a processor", PeerValue: seconds, N: seconds}
}

// use is what cardauth holds: files, threads, memory.
func (d *desk) use() (files, threads, kb int) {
	d.t.Helper()
	proc := fmt.Sprintf("/proc/%d", d.program.Process.Pid)
	fds, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		d.t.Fatal(err)
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "VmRSS:"):
			kb, _ = strconv.Atoi(fields[1])
		case strings.HasPrefix(line, "Threads:"):
			threads, _ = strconv.Atoi(fields[1])
		}
	}
	return len(fds), threads, kb
}

// thousand is a thousand logins: each begins one session and ends the one before,
// and nothing is left over. Files are PC/SC handles too: each is a connection. An
// event is lost that is not in the trace exactly once for a session that somebody
// was told of; the log is no measure, it is written behind what it tells.
func (d *desk) thousand(b *testing.B, c *pivcard.Card) []figures.Figure {
	d.insert(c)
	for range 50 { // until everything has its size
		d.mustLogin()
	}
	files, threads, kb := d.use()
	const n = 1000
	told := make([]string, 0, n)
	for range n {
		told = append(told, d.mustLogin().Session.ID)
	}
	files2, threads2, kb2 := d.use()
	d.remove()
	d.until("no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 })
	lost := 0
	begun, ended := d.inTrace(told)
	for _, sid := range told {
		if begun[sid] != 1 || ended[sid] != 1 {
			lost++
			b.Errorf("session %s: its beginning is %d times in the trace, its end %d times", sid, begun[sid], ended[sid])
		}
	}
	if files2 > files+2 || threads2 > threads+4 {
		b.Errorf("after %d logins %d files and %d threads, before %d and %d", n, files2, threads2, files, threads)
	}
	return []figures.Figure{
		{Metric: "card.lost_events", Value: float64(lost), N: 2 * n},
		{Metric: "card.files_more", Value: float64(files2 - files), N: n},
		{Metric: "card.threads_more", Value: float64(threads2 - threads), N: n},
		{Metric: "card.rss_more_kb", Value: float64(kb2 - kb), Unit: "kB", Peer: "before", PeerValue: float64(kb), Ratio: float64(kb2) / float64(kb), N: n},
	}
}

// inTrace counts beginnings and ends of sessions in the trace, as syncd fetches it,
// once it tells of the last session's end.
func (d *desk) inTrace(sids []string) (begun, ended map[string]int) {
	d.t.Helper()
	begun, ended = map[string]int{}, map[string]int{}
	last := sids[len(sids)-1]
	for after, late := uint64(0), time.Now().Add(10*time.Second); ended[last] == 0 && time.Now().Before(late); {
		_, text := d.control(http.MethodGet, fmt.Sprintf("/audit?after=%d", after), nil)
		var page struct {
			Records []struct {
				N     uint64
				Event struct {
					Subtype []struct{ Display string }
					Entity  []struct {
						Detail []struct{ Type, ValueString string }
					}
				}
			}
		}
		if err := json.Unmarshal([]byte(text), &page); err != nil {
			d.t.Fatal(err)
		}
		for _, r := range page.Records {
			after = r.N
			for _, e := range r.Event.Entity {
				for _, x := range e.Detail {
					switch {
					case x.Type != "session":
					case r.Event.Subtype[0].Display == "Login":
						begun[x.ValueString]++
					case r.Event.Subtype[0].Display == "Logout":
						ended[x.ValueString]++
					}
				}
			}
		}
	}
	return begun, ended
}

// remote is a workstation's reader behind a cable of 40 ms each way.
func remote(b *testing.B) []figures.Figure {
	f := newFar(b, 40*time.Millisecond)
	var login, inserted, removed []time.Duration
	c := f.present("7")
	for i := range 20 {
		start := time.Now()
		if i > 0 {
			if err := f.seat.Insert(c); err != nil {
				b.Fatal(err)
			}
			f.until("the card in the far reader", f.farState(wire.ReaderCard))
		}
		typed := time.Now()
		a := f.mustFarLogin()
		if i > 0 {
			inserted = append(inserted, time.Since(start))
		}
		login = append(login, time.Since(typed))
		out := time.Now()
		f.seat.Remove()
		removed = append(removed, f.ends(a.Session.ID, out))
		f.refused(f.call(f.ws, "/v1/renew", a.Token, ""), http.StatusUnauthorized, "session-over")
		f.until("an empty far reader", f.farState(wire.ReaderEmpty))
	}
	all := spread("card.remote_login_ms", login)
	all = append(all, spread("card.remote_insert_to_session_ms", inserted)...)
	return append(all, spread("card.remote_removal_ms", removed)...)
}

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

// trace is what cardauth offers to be taken over, an event a line: its kind, how it
// ended, who and where.
func (d *desk) trace() []string {
	d.t.Helper()
	code, body := d.control(http.MethodGet, "/audit", nil)
	var got struct {
		Records []struct {
			N     uint64
			Event struct {
				Subtype []struct{ Code string }
				Outcome string
				Desc    string `json:"outcomeDesc"`
				Agent   []struct {
					Name string
					Who  struct{ Reference string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK {
		d.t.Fatalf("audit: %d %v in %s", code, err, body)
	}
	if strings.Contains(body, rightPIN) {
		d.t.Errorf("the PIN is in the trace: %s", body)
	}
	var lines []string
	for _, r := range got.Records {
		e := r.Event
		who := e.Agent[0].Who.Reference
		if len(e.Agent) > 1 {
			who += "@" + e.Agent[1].Name
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.Subtype[0].Code, e.Outcome, who, e.Desc)))
	}
	return lines
}

// traced waits for the trace to be this.
func (d *desk) traced(want ...string) {
	d.t.Helper()
	var got []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		got = d.trace()
		for i := range got { // whichever notices first: the reader or the next proof
			got[i] = strings.ReplaceAll(got[i], "card-lost", "card-out")
		}
		if slices.Equal(got, want) {
			return
		}
	}
	d.t.Fatalf("traced:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
}

// Every login, refusal and end is on record, in order, also when cardauth is
// killed with somebody logged in: no event is lost.
func TestEveryEventIsTraced(t *testing.T) {
	d := newDesk(t)
	d.until("an empty reader", reader(wire.ReaderEmpty))
	d.refused(d.login(rightPIN), http.StatusConflict, "no-card")
	d.insert(d.card(d.world.Professionals, "282864711"))
	d.refused(d.login("111111"), http.StatusUnauthorized, "wrong-pin")
	d.refused(d.login(rightPIN), http.StatusTooManyRequests, "slow-down")
	time.Sleep(1100 * time.Millisecond)
	a := d.mustLogin()
	want := []string{
		"110122 4 @ws-1 no-card", "110122 4 Practitioner/282864711@ws-1 wrong-pin", "110122 4 Practitioner/282864711@ws-1 slow-down",
		"110122 0 Practitioner/282864711@ws-1",
	}
	d.traced(want...)
	d.call(d.ws, "/v1/logout", a.Token, "")
	d.mustLogin()
	d.kill()
	d.launch()
	d.serves()
	want = append(want, "110123 0 Practitioner/282864711@ws-1 logged-out", "110122 0 Practitioner/282864711@ws-1",
		"110123 0 Practitioner/282864711@ws-1 cardauth was stopped without a word")
	d.traced(want...)
	// Not before it has seen the card: a swap in pcscd's blind moment is not what this is about.
	d.until("the card again, and no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 && reader(wire.ReaderCard)(c) })
	d.remove()
	d.insert(d.card(d.world.Professionals, "2"))
	d.mustLogin()
	d.remove()
	d.traced(append(want, "110122 0 Practitioner/2@ws-1", "110123 0 Practitioner/2@ws-1 card-out")...)
	_, numbers := d.control(http.MethodGet, "/metrics", nil)
	for _, line := range []string{`cardauth_readers{state="empty"} 1`, `cardauth_sessions{role="doctor"} 0`, `cardauth_sessions_begun_total{role="doctor"} 1`} {
		if !strings.Contains(numbers, line+"\n") {
			t.Errorf("metrics lack %s:\n%s", line, numbers)
		}
	}
}

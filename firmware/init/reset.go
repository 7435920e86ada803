package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"clinicgate/firmware/blockdev"
	"clinicgate/firmware/plainhttp"
	"clinicgate/firmware/reset"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// unknown is how many uploads wait when syncd can't say.
const unknown = -1

// resetData is the data partition as a reset sees it. Which slot is good is no
// clinic's data: without it the box might start the wrong one.
func resetData() reset.Data {
	return reset.Data{Root: "/data", Keep: []string{"init/slots.json"}}
}

// carryReset does a factory reset that was ordered, before any program runs.
func (b *box) carryReset(find blockdev.Finder) error {
	d := resetData()
	if dev, err := find.Partition("data"); err == nil {
		d.Device = dev
	}
	if o, err := d.Ordered(); err != nil || o == nil {
		return err
	}
	say("factory reset: destroying keys and data, do not unplug")
	o, err := d.Carry(time.Now())
	if err != nil {
		return err
	}
	say("factory reset: %s", proved(*o.Destroyed))
	b.log.Warn("factory reset done", "by", o.By, "keys", o.Destroyed.Files, "blocks", o.Destroyed.Blocks, "weak", o.Destroyed.Weak)
	return nil
}

// proved says in words what is known of the keys.
func proved(p reset.Proof) string {
	if p.Weak != "" {
		return fmt.Sprintf("%d keys overwritten; it was not read back from the disk: %s", p.Files, p.Weak)
	}
	return fmt.Sprintf("%d keys destroyed, %d blocks of the disk read back without them", p.Files, p.Blocks)
}

// undelivered counts the uploads that are nowhere but here: waiting, or held for a
// person.
func undelivered(run string, alive func(pid int) bool) int {
	s, err := wirefile.Read[wire.Sync](run, wire.SyncFile)
	if err != nil || !alive(s.PID) {
		return unknown
	}
	return waiting(s)
}

func waiting(s *wire.Sync) int {
	n := s.Held
	for _, l := range s.Lanes {
		n += l.Waiting
	}
	return n
}

// phrase is what a person has to type, so that he has read what is lost.
func phrase(undelivered int) string {
	switch undelivered {
	case 0:
		return "reset this box"
	case unknown:
		return "destroy uploads nobody counted"
	case 1:
		return "destroy 1 upload"
	}
	return fmt.Sprintf("destroy %d uploads", undelivered)
}

// resetState is GET /reset, and what a refusal says.
type resetState struct {
	Undelivered int          `json:"undelivered"` // -1: unknown
	Phrase      string       `json:"phrase"`
	Ordered     *reset.Order `json:"ordered"`
}

// answerReset tells what a reset would cost, or orders one and restarts the box: keys
// are destroyed when no program holds them any more.
func (b *box) answerReset(req plainhttp.Request, answer plainhttp.Answer, endings chan<- ending) {
	n := undelivered(runDir, wirefile.Alive)
	ordered, err := resetData().Ordered()
	state := resetState{n, phrase(n), ordered}
	switch {
	case err != nil || !b.data:
		fmt.Fprintln(answer(500, text), "the data partition can't be used")
		return
	case req.Method == "GET":
		_ = json.NewEncoder(answer(200, "application/json")).Encode(state) // the client may be gone
		return
	case req.Query.Get("phrase") != state.Phrase:
		fmt.Fprintf(answer(409, text), "%s; want the phrase %q\n", lost(n), state.Phrase)
		return
	}
	if err := resetData().Give(reset.Order{At: time.Now().UTC().Truncate(time.Second), By: name(req.UID), Left: n}); err != nil {
		fmt.Fprintln(answer(500, text), err)
		return
	}
	b.log.Warn("factory reset ordered", "by", name(req.UID), "undelivered", n)
	say("factory reset: the box restarts for it")
	select {
	case endings <- reboot:
	default: // it is ending already; the next start does it
	}
	fmt.Fprintln(answer(202, text), "the box restarts and destroys its keys and data")
}

func lost(undelivered int) string {
	switch undelivered {
	case 0:
		return "nothing is undelivered"
	case unknown:
		return "syncd can't say what is undelivered"
	}
	return fmt.Sprintf("%d uploads are undelivered and would be lost", undelivered)
}

// holdReset takes an order back when, until syncd had stopped, more was acknowledged
// than was known to whoever gave it. From here on nothing is taken any more.
func (b *box) holdReset(services []wire.Service) {
	d := resetData()
	o, err := d.Ordered()
	if err != nil || o == nil || o.Left == unknown || !b.data {
		return
	}
	clean := slices.ContainsFunc(services, func(s wire.Service) bool { return s.Name == "syncd" && s.LastExit == "exit status 0" })
	if why := more(runDir, o.Left, clean); why != "" {
		say("factory reset: not done: %s", why)
		b.log.Warn("factory reset cancelled", "why", why)
		if err := d.Cancel(); err != nil {
			say("factory reset: %v", err)
		}
	}
}

// more says why a reset that was ordered with so many uploads undelivered can't go
// on; empty: it can. clean: syncd ended by itself, and its last word is its last.
func more(run string, known int, clean bool) string {
	n := undelivered(run, func(int) bool { return true })
	switch {
	case !clean && n != 0:
		return "syncd did not end in order, and may have taken more than it said"
	case n == unknown || n > known:
		return fmt.Sprintf("meanwhile %s", lost(n))
	}
	return ""
}

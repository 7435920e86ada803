// Package view makes what the clinic's page shows: from what the programs
// published, the lines' last day and the time, the same words and numbers always.
// Its one guarantee: nothing of a patient is in it, for nothing of a patient is in
// what it is made from.
package view

import (
	"fmt"
	"html/template"
	"time"

	"clinicgate/firmware/panel/day"
	"clinicgate/firmware/panel/phrase"
	"clinicgate/firmware/panel/plot"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// Page is what is shown, in one language.
type Page struct {
	Lang    phrase.Lang
	Clinic  string
	Head    Head
	Alarms  []Alarm
	Hidden  string // how many alarms are not shown; empty: none
	Queue   Queue
	Consult Consults
	Records Records
	Rooms   []Room
	Cards   bool // known how the readers are
	Lines   Lines
	Box     []Fact
	ECGs    bool // a doctor can look at ECGs
}

// Fact is a name and a value.
type Fact struct{ Name, Value string }

// Alarm is one thing to do.
type Alarm struct {
	Mark     string // "stops", or its severity
	Severity string
	What, Do string
	Since    string
	Tech     string // the program's own words, in English
}

// Queue is what waits to be sent.
type Queue struct {
	Known        bool
	Lanes        []Lane
	Held         string // empty: none
	Destinations []Destination
}

// Lane is one class of uploads and how far it has come since nothing waited.
type Lane struct {
	Name, Says string
	Waiting    int
	Sent, All  uint64
}

// Destination is where uploads go.
type Destination struct{ Mark, Says string }

// Records is how old what is shown to doctors is.
type Records struct {
	Known bool
	Fresh bool
	Says  string
	Facts []Fact
}

// Room is a card reader. Who the card's holder is stays out of it.
type Room struct{ Name, Mark, Says, Since string }

// Lines are the ways to the internet.
type Lines struct {
	Known   bool
	Lines   []Line
	Tunnels []Destination
}

// Line is one of them.
type Line struct {
	Name, Mark, Says, Since string
	Measures                []string
	Plot                    template.HTML // of plot, which has no text of anybody's
	Alt, Top                string
}

// maxAlarms bounds what a page shows of alarms: they come worst first.
const maxAlarms = 8

// Of is all that a page is made from.
type Of struct {
	Box   status.Box
	Day   *day.Day
	Moved Progress
	Now   time.Time
	ECGs  bool // a doctor can look at those that are here

	Consults []wire.Consult // nil: not known
}

// Make makes the page.
func Make(o Of, l phrase.Lang) Page {
	b, v := o.Box, status.Judge(o.Box)
	p := Page{Lang: l, Clinic: b.Site.Name, Head: Sentence(b, v, l, o.Now), Cards: b.Card.Presence == status.Live}
	shown := v.Findings
	if len(shown) > maxAlarms {
		p.Hidden = l.Count("alarms.more", len(shown)-maxAlarms)
		shown = shown[:maxAlarms]
	}
	for _, f := range shown {
		p.Alarms = append(p.Alarms, alarm(f, l, o.Now))
	}
	p.Queue = queue(o, l)
	p.Consult = consultsOf(o.Consults, l, o.Now)
	p.Records = recordsOf(b, l, o.Now)
	p.Rooms = rooms(b, l, o.Now)
	p.Lines = lines(o, l)
	p.Box, p.ECGs = box(b, l, o.Now), o.ECGs
	return p
}

func alarm(f status.Finding, l phrase.Lang, now time.Time) Alarm {
	a := Alarm{Mark: string(f.Severity), Tech: f.ID + ": " + f.Where + ": " + f.What + " - " + f.Do}
	if f.Stops {
		a.Mark = "stops"
	}
	a.Severity = l.Text("severity." + a.Mark)
	a.What, a.Do = l.Advice(f.ID)
	a.Since = since(f.Since, l, now)
	return a
}

// since is how long something has been so, or nothing.
func since(t time.Time, l phrase.Lang, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return l.Text("for", l.Span(now.Sub(t)))
}

func queue(o Of, l phrase.Lang) Queue {
	b := o.Box
	if b.Sync.Presence != status.Live || b.Sync.V.Lanes == nil {
		return Queue{}
	}
	q := Queue{Known: true}
	for _, lane := range b.Sync.V.Lanes {
		w := Lane{Name: l.Text("lane." + lane.Name), Waiting: lane.Waiting, Says: l.Text("lane.empty")}
		w.Sent, w.All = o.Moved.Of(lane)
		if lane.Waiting > 0 {
			w.Says = l.Text("lane.progress", w.Sent, w.All) + " · " + l.Text("lane.waiting", l.Size(lane.Bytes))
			if !lane.Oldest.IsZero() {
				w.Says += " · " + l.Text("queue.oldest", l.Span(o.Now.Sub(lane.Oldest)))
			}
		}
		q.Lanes = append(q.Lanes, w)
	}
	if n := b.Sync.V.Held; n > 0 {
		q.Held = l.Count("held", n)
	}
	for _, d := range b.Sync.V.Destinations {
		mark := map[string]string{"ok": "good", "unknown": "idle"}[d.State]
		if mark == "" {
			mark = "bad"
		}
		q.Destinations = append(q.Destinations, Destination{mark, l.Text("dest."+d.State, d.Name)})
	}
	return q
}

func recordsOf(b status.Box, l phrase.Lang, now time.Time) Records {
	if b.Sync.Presence != status.Live || b.Sync.V.Lanes == nil {
		return Records{}
	}
	_, at := network(b, l)
	c := b.Sync.V.Cache
	r := Records{Known: true, Fresh: asked(b, at), Says: l.Text("records.fresh")}
	if !r.Fresh {
		r.Says = l.Text("records.stale")
	}
	contact := l.Text("never")
	if !c.LastContact.IsZero() {
		contact = l.Text("ago", l.Span(now.Sub(c.LastContact)))
	}
	r.Facts = []Fact{{l.Text("records.contact"), contact}, {l.Text("records.kept"), l.Count("records.items", c.Resources) + ", " + l.Size(c.Bytes)}}
	if d := b.Sync.V.Disk; d.Total > 0 {
		r.Facts = append(r.Facts, Fact{l.Text("records.disk"), fmt.Sprintf("%d %%", 100*d.Free/d.Total)})
	}
	return r
}

func rooms(b status.Box, l phrase.Lang, now time.Time) (all []Room) {
	if b.Card.Presence != status.Live {
		return nil
	}
	for _, r := range b.Card.V.Readers {
		one := Room{Name: r.Room, Says: l.Text("reader." + r.State), Since: since(r.Since, l, now)}
		if one.Name == "" {
			one.Name = r.Name
		}
		one.Mark = map[string]string{wire.ReaderSession: "good", wire.ReaderCard: "idle", wire.ReaderEmpty: "idle"}[r.State]
		if one.Mark == "" {
			one.Mark = "bad"
		}
		for _, s := range b.Card.V.Sessions {
			if s.Room == r.Room && r.State == wire.ReaderSession {
				one.Says = l.Text("reader.session") + ": " + l.Text("role."+s.Role)
			}
		}
		all = append(all, one)
	}
	return all
}

func lines(o Of, l phrase.Lang) Lines {
	b := o.Box
	if b.Net.Presence != status.Live {
		return Lines{}
	}
	ls := Lines{Known: true}
	for _, u := range b.Net.V.Uplinks {
		ls.Lines = append(ls.Lines, line(o, u, u.Name == b.Net.V.Active, l))
	}
	for _, t := range b.Net.V.Tunnels {
		mark := map[string]string{wire.TunnelUp: "good", wire.TunnelStandby: "idle"}[t.State]
		if mark == "" {
			mark = "bad"
		}
		ls.Tunnels = append(ls.Tunnels, Destination{mark, l.Text("tunnel." + t.State)})
	}
	return ls
}

func line(o Of, u wire.Uplink, active bool, l phrase.Lang) Line {
	one := Line{Name: u.Name, Mark: "bad", Says: l.Text("line." + u.State), Since: since(u.Since, l, o.Now)}
	switch {
	case u.State == wire.UplinkUp:
		one.Mark = "good"
	case u.State == wire.UplinkDegraded:
		one.Mark = "weak"
	}
	if works(u) {
		if active {
			one.Says += ", " + l.Text("line.use")
		}
		if u.RTTMS > 0 {
			one.Measures = append(one.Measures, l.Text("line.rtt", number(u.RTTMS)))
		}
		one.Measures = append(one.Measures, l.Text("line.loss", number(u.LossPct)))
	}
	points := o.Day.Line(u.Name, o.Now)
	f := plot.Look(points)
	if !f.Measured {
		one.Alt = l.Text("plot.none", u.Name)
		return one
	}
	one.Plot, one.Top = template.HTML(plot.Draw(points, f)), number(f.Top)+" ms"
	one.Alt = l.Text("plot.alt", u.Name, number(f.Median), number(f.Most), l.Span(f.Out))
	return one
}

func number(v float64) string { return fmt.Sprintf("%.0f", v) }

func box(b status.Box, l phrase.Lang, now time.Time) (all []Fact) {
	if b.Site.Name != "" {
		all = append(all, Fact{l.Text("box.site"), b.Site.Name + " (" + b.Site.Code + ")"})
	}
	if b.Init.Presence == status.Live {
		all = append(all, Fact{l.Text("box.version"), b.Init.V.Release})
		if !b.Init.V.Booted.IsZero() {
			all = append(all, Fact{l.Text("box.up"), l.Text("for", l.Span(now.Sub(b.Init.V.Booted)))})
		}
	}
	if b.Pair.Presence == status.Live {
		role := "single"
		for _, g := range b.Pair.V.Groups {
			if role == "single" || g.Role == wire.RoleMaster || role == wire.RoleInit {
				role = g.Role
			}
		}
		all = append(all, Fact{l.Text("box.role"), l.Text("role." + role)})
	}
	return all
}

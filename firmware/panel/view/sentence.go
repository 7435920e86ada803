package view

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"clinicgate/firmware/panel/phrase"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// Colour of the tile. It never stands alone: each has a shape and a word.
type Colour string

// The colours.
const (
	Green Colour = "green" // nothing to do
	Amber Colour = "amber" // the clinic works; somebody should look
	Red   Colour = "red"   // something the clinic relies on does not work
)

// Head is the tile: how it is, in a word and in one sentence.
type Head struct {
	Colour   Colour
	State    string
	Sentence string
}

// Sentence says how the clinic is.
func Sentence(b status.Box, v status.Verdict, l phrase.Lang, now time.Time) Head {
	if b.SiteErr != "" && b.Net.Presence != status.Live {
		return Head{Red, l.Text("state.setup"), end(l.Text("say.setup"))}
	}
	net, at := network(b, l)
	rest := end(strings.Join([]string{net, records(b, at, l, now), waiting(b, l, now)}, "; "))
	if len(v.Findings) > 0 && v.Findings[0].Stops {
		what, _ := l.Advice(v.Findings[0].ID)
		return Head{Red, l.Text("state.help"), end(what) + " " + rest}
	}
	if b.Pair.Presence == status.Live && b.Pair.V.Standby() {
		return Head{Green, l.Text("state.standby"), end(l.Text("say.standby"))}
	}
	switch {
	case at == offline:
		return Head{Red, l.Text("state.offline"), rest}
	case at == cut:
		return Head{Red, l.Text("state.cut"), rest}
	case at == backup:
		return Head{Amber, l.Text("state.backup"), rest}
	case v.Level != status.OK:
		return Head{Amber, l.Text("state.look"), rest}
	}
	return Head{Green, l.Text("state.working"), rest}
}

// end makes a clause a sentence: first letter, full stop.
func end(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[n:] + "."
}

// reach is how far the clinic gets.
type reach int

const (
	all reach = iota
	backup
	cut     // internet, and no tunnel
	offline // no internet
)

func network(b status.Box, l phrase.Lang) (string, reach) {
	if b.Net.Presence != status.Live {
		return l.Text("net.unknown"), offline
	}
	var good []string
	for _, u := range b.Net.V.Uplinks {
		if works(u) {
			good = append(good, u.Name)
		}
	}
	switch {
	case len(good) == 0:
		return l.Text("net.none"), offline
	case tunnelsDown(b.Net.V.Tunnels):
		return l.Text("net.cut"), cut
	case len(good) < len(b.Net.V.Uplinks):
		return l.Text("net.only", l.List(good)), backup
	}
	return l.Text("net.all", l.List(good)), all
}

func works(u wire.Uplink) bool { return u.State == wire.UplinkUp || u.State == wire.UplinkDegraded }

// tunnelsDown: there are tunnels, and none is up.
func tunnelsDown(tunnels []wire.Tunnel) bool {
	for _, t := range tunnels {
		if t.State != wire.TunnelDown {
			return false
		}
	}
	return len(tunnels) > 0
}

// asked reports whether records can be asked for where they are kept. syncd says
// when they can't; without a way out nobody had to try.
func asked(b status.Box, at reach) bool {
	if at == cut || at == offline {
		return false
	}
	for _, f := range b.Sync.V.Faults {
		if f.ID == "sync.ehr-unreachable" {
			return false
		}
	}
	return true
}

func records(b status.Box, at reach, l phrase.Lang, now time.Time) string {
	switch {
	case b.Sync.Presence != status.Live || b.Sync.V.Lanes == nil:
		return l.Text("rec.unknown")
	case asked(b, at):
		return l.Text("rec.fresh")
	case b.Sync.V.Cache.LastContact.IsZero():
		return l.Text("rec.none")
	}
	return l.Text("rec.old", l.Span(now.Sub(b.Sync.V.Cache.LastContact)))
}

// waiting tells of the uploads: the urgent ones first, which are ECGs.
func waiting(b status.Box, l phrase.Lang, now time.Time) string {
	if b.Sync.Presence != status.Live || b.Sync.V.Lanes == nil {
		return l.Text("queue.unknown")
	}
	ecgs, files := 0, 0
	var oldest time.Time
	for _, lane := range b.Sync.V.Lanes {
		if lane.Name == "stat" {
			ecgs += lane.Waiting
		} else {
			files += lane.Waiting
		}
		if lane.Waiting > 0 && !lane.Oldest.IsZero() && (oldest.IsZero() || lane.Oldest.Before(oldest)) {
			oldest = lane.Oldest
		}
	}
	var said []string
	if ecgs > 0 {
		said = append(said, l.Count("queue.ecg", ecgs))
	}
	if files > 0 {
		said = append(said, l.Count("queue.file", files))
	}
	if len(said) == 0 {
		return l.Text("queue.none")
	}
	if !oldest.IsZero() {
		return l.List(said) + ", " + l.Text("queue.oldest", l.Span(now.Sub(oldest)))
	}
	return l.List(said)
}

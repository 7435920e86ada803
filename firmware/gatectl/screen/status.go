package screen

import (
	"fmt"
	"strings"

	"clinicgate/firmware/ascii"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// label is the width of the first column.
const label = 9

// rows collects a screen's rows.
type rows struct {
	width int
	all   []string
}

func (r *rows) row(word, format string, args ...any) {
	r.all = append(r.all, ascii.Cut(fmt.Sprintf(" %-*s%s", label, ascii.Cut(ascii.Text(word), label-1), ascii.Text(fmt.Sprintf(format, args...))), r.width))
}

// text adds up to most rows of wrapped text.
func (r *rows) text(word string, most int, text string) {
	room := max(r.width-label-1, 4)
	all := ascii.Wrap(ascii.Text(text), room)
	for i, l := range all[:min(len(all), most)] {
		if i == most-1 && len(all) > most {
			l = ascii.Cut(l+" ...", room)
		}
		r.row(word, "%s", l)
		word = ""
	}
}

func (r *rows) rule() { r.all = append(r.all, " "+strings.Repeat("-", max(r.width-1, 0))) }

// section is a part of the screen.
type section struct {
	draw func(*rows)
	// rank is how soon it makes room for what is wrong: the greatest first, zero
	// never.
	rank int
}

// status is the first screen: what a technician wants to know in ten seconds.
func (m *Model) status(room int) []string {
	r := &rows{width: m.width - 1}
	if m.at.IsZero() {
		r.row("", "looking at the box...")
		return r.all
	}
	v := status.Judge(m.box)
	r.all = append(r.all, m.title(r.width))
	r.rule()
	r.text("STATUS", 2, v.Sentence)
	r.rule()
	m.middle(r, v, room)
	r.rule()
	m.alarms(r, v.Findings, room)
	return r.all
}

// middle is what is known of each part, less what must make room for the first
// thing that is wrong.
func (m *Model) middle(r *rows, v status.Verdict, room int) {
	sections := []section{
		{m.uplinks, 0}, {m.tunnels, 1},
		{func(r *rows) {
			for _, g := range status.Groups(m.box, m.at) {
				r.text("PAIR", 2, g)
			}
		}, 3},
		{func(r *rows) { r.text("CARDS", 1, status.Cards(m.box, m.at)) }, 5},
		{m.queue, 2}, {m.partners, 4},
		{func(r *rows) { r.text("RECORDS", 1, status.Records(m.box, m.at)) }, 6},
		{m.update, 7},
	}
	if u := m.box.Update; u.V != nil && u.V.State != wire.UpdateIdle {
		sections[len(sections)-1].rank = 2 // somebody may be about to unplug the box
	}
	need := 2 // the rule, and that nothing is wrong
	if len(v.Findings) > 0 {
		need = 2 + len(m.alarm(v.Findings[0], r.width))
	}
	drawn := make([][]string, len(sections))
	total := len(r.all) + need
	for i, s := range sections {
		part := &rows{width: r.width}
		s.draw(part)
		drawn[i] = part.all
		total += len(part.all)
	}
	for rank := 7; rank > 0 && total > room; rank-- {
		for i, s := range sections {
			if s.rank == rank {
				total -= len(drawn[i])
				drawn[i] = nil
			}
		}
	}
	for _, part := range drawn {
		r.all = append(r.all, part...)
	}
}

// title is which box this is, and its clock, which also shows that the screen lives.
func (m *Model) title(width int) string {
	clock := m.at.UTC().Format("15:04:05Z")
	left := ascii.Cut(" clinicgate"+status.Heading(m.box, m.at), max(width-len(clock)-1, 0))
	return left + strings.Repeat(" ", max(width-len(left)-len(clock), 1)) + clock
}

func (m *Model) uplinks(r *rows) {
	n := m.box.Net
	if n.V == nil || n.V.LAN.Port == "" && len(n.V.Uplinks) == 0 {
		r.row("LINES", "%s", status.Silent("netd", n))
		return
	}
	r.row("LINE", "  %-10s%5s %-8s %4s %-8s %6s %6s %-8s %5s", "STATE", "RTT", "", "LOSS", "", "IN", "OUT", "", "FOR")
	if len(n.V.Uplinks) == 0 {
		r.row("-", "no internet line in the site file")
	}
	for i, u := range n.V.Uplinks {
		if i == maxKnown/2 {
			r.row("", "%d more: see lines", len(n.V.Uplinks)-i)
			break
		}
		m.uplink(r, u)
	}
}

// uplink is one row of numbers, and one that says why where it does not work.
func (m *Model) uplink(r *rows, u wire.Uplink) {
	mark, rtt, loss := "", "-", "-"
	if u.Name == m.box.Net.V.Active {
		mark = "*"
	}
	if u.RTTMS > 0 {
		rtt = fmt.Sprintf("%.0fms", u.RTTMS)
	}
	if u.State != wire.UplinkNoLink && u.State != wire.UplinkNoAddress {
		loss = fmt.Sprintf("%.0f%%", u.LossPct)
	}
	h := m.past.lines[u.Name]
	if h == nil {
		h = newLine()
	}
	const fast, slow = 100e3, 50 // bits a second and ms of a full spark, at least
	r.row(u.Name, "%-2s%-10s%5s %s %4s %s %6s %6s %s %5s", mark, u.State, rtt, h.rtt.spark(slow), loss, h.loss.spark(100),
		ascii.Rate(u.RxBPS), ascii.Rate(u.TxBPS), h.rate.spark(fast), ascii.Age(u.Since, m.at))
	if why := status.Past(m.box.Net.Presence) + u.Reason; u.State != wire.UplinkUp || m.box.Net.Presence != status.Live {
		r.text("", 1, "- "+why)
	}
}

func (m *Model) tunnels(r *rows) {
	if m.box.Net.V == nil {
		return
	}
	for i, t := range m.box.Net.V.Tunnels {
		text := fmt.Sprintf("%s%s %s for %s: %s", status.Past(m.box.Net.Presence), t.Name, t.State, ascii.Age(t.Since, m.at), t.Reason)
		if t.State == wire.TunnelUp && t.Via != "" {
			text += ", by " + t.Via
		}
		if t.RTTMS > 0 {
			text += fmt.Sprintf(", RTT %.0fms", t.RTTMS)
		}
		r.text("TUNNEL", 1, text)
		if i == 2 {
			return
		}
	}
}

// queue is one row if nothing waits, and one for each lane in which something does.
func (m *Model) queue(r *rows) {
	s := m.box.Sync
	if s.V == nil || s.V.Lanes == nil {
		r.row("QUEUE", "%s", status.Silent("syncd", s))
		return
	}
	past := status.Past(s.Presence)
	word, delivered := "QUEUE", uint64(0)
	for _, l := range s.V.Lanes[:min(len(s.V.Lanes), maxKnown)] {
		delivered += l.Delivered
		if l.Waiting == 0 {
			continue
		}
		done, of := m.past.sent(l)
		r.row(word, "%s%-8s%4d wait %7s, oldest %-6s %s %d/%d sent", past, l.Name, l.Waiting, ascii.Size(l.Bytes), ascii.Age(l.Oldest, m.at), bar(done, of, 12), done, of)
		word = ""
	}
	if word != "" {
		r.row(word, "%snothing waits, %d delivered", past, delivered)
	}
	if s.V.Held > 0 {
		r.row("", "%d held for a person: see queue", s.V.Held)
	}
}

// partners are where uploads go: the pair's other box, and the destinations.
func (m *Model) partners(r *rows) {
	if mirror := status.Mirror(m.box, m.at); mirror != "" {
		r.text("MIRROR", 1, mirror)
	}
	if to := status.Partners(m.box, m.at); to != "" {
		r.text("TO", 1, to)
	}
}

// update shows a release on its way, or that there is none.
func (m *Model) update(r *rows) {
	u := m.box.Update
	if u.V == nil {
		return
	}
	text := status.Past(u.Presence) + u.V.State
	if u.V.Wanted != "" {
		text += " " + u.V.Wanted
	}
	if u.V.Of > 0 && u.V.State == wire.UpdateFetching {
		done, of := uint64(max(u.V.Done, 0)), uint64(u.V.Of)
		text += fmt.Sprintf(" %s %d%% of %s", bar(done, of, 12), 100*min(done, of)/of, ascii.Size(u.V.Of))
	}
	if u.V.Why != "" {
		text += ": " + u.V.Why
	}
	if u.V.State == wire.UpdateArmed || u.V.State == wire.UpdateProving {
		text += "; do not unplug"
	}
	r.text("UPDATE", 1, text+slots(m.box.Init))
}

// slots tells how the last trial ended.
func slots(i status.Seen[wire.Init]) string {
	if i.V == nil || i.V.Slots == nil || i.V.Slots.Last == "" {
		return ""
	}
	return "; last trial " + i.V.Slots.Last
}

// alarms lists what is wrong and what to do about it, each whole, as far as they fit.
func (m *Model) alarms(r *rows, all []status.Finding, room int) {
	if len(all) == 0 {
		r.row("", "nothing is wrong")
		return
	}
	for i, f := range all {
		one := m.alarm(f, r.width)
		spare := 0
		if i < len(all)-1 {
			spare = 1 // for the row that counts the rest
		}
		if left := room - len(r.all); len(one)+spare > left {
			r.all = r.all[:min(len(r.all), max(room-1, 0))]
			r.row("", "%d more: see doctor", len(all)-i)
			return
		}
		r.all = append(r.all, one...)
	}
}

// alarm is one thing that is wrong.
func (m *Model) alarm(f status.Finding, width int) []string {
	one := &rows{width: width}
	what := f.Where + ": " + f.What
	if !f.Since.IsZero() {
		what = fmt.Sprintf("%s, for %s: %s", f.Where, ascii.Age(f.Since, m.at), f.What)
	}
	one.text(strings.ToUpper(string(f.Severity)), 3, what)
	one.text("", 2, "DO: "+f.Do)
	return one.all
}

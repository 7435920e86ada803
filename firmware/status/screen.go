package status

import (
	"fmt"
	"strings"
	"time"

	"clinicgate/firmware/ascii"
	"clinicgate/firmware/wire"
)

// label is the width of the first column.
const label = 9

// A screen collects lines.
type screen struct {
	width int
	lines []string
}

// line adds one line: a word in the first column, then text, shortened to fit.
func (s *screen) line(word, format string, args ...any) {
	text := fmt.Sprintf(" %-*s%s", label, ascii.Text(word), ascii.Text(fmt.Sprintf(format, args...)))
	s.lines = append(s.lines, strings.TrimRight(ascii.Cut(text, s.width), " "))
}

// text adds up to most lines of wrapped text.
func (s *screen) text(word string, most int, format string, args ...any) {
	all := ascii.Wrap(ascii.Text(fmt.Sprintf(format, args...)), s.width-label-1)
	for i, l := range all {
		if i == most-1 && len(all) > most {
			l = l[:min(len(l), s.width-label-4)] + "..."
		}
		if i == most {
			return
		}
		s.line(word, "%s", l)
		word = ""
	}
}

func (s *screen) rule() {
	s.lines = append(s.lines, " "+strings.Repeat("-", s.width-1))
}

// Screen draws the box on width columns, the last of which stays empty, and at
// most height lines; height 0 means no limit. What does not fit of the findings is
// counted on the last line.
func Screen(b Box, now time.Time, width, height int) string {
	v := Judge(b)
	s := &screen{width: max(width, 40) - 1}
	s.header(b, now)
	s.rule()
	s.text("STATUS", 2, "%s", v.Sentence)
	s.rule()
	s.network(b, now)
	s.pair(b, now)
	s.cards(b, now)
	s.uploads(b, now)
	s.programs(b, now)
	if height == 0 || len(v.Findings) == 0 {
		s.boot(b)
	}
	s.rule()
	s.findings(v.Findings, now, height)
	if height > 0 && len(s.lines) > height {
		s.lines = append(s.lines[:height-1], " ... more than a screen: `gatectl status` shows all")
	}
	return strings.Join(s.lines, "\n") + "\n"
}

func (s *screen) header(b Box, now time.Time) {
	s.lines = append(s.lines, ascii.Cut(" clinicgate"+Heading(b, now), s.width))
}

// Heading says which box this is: site, release, role, age.
func Heading(b Box, now time.Time) string {
	text := ""
	add := func(format string, args ...any) { text += "  " + ascii.Text(fmt.Sprintf(format, args...)) }
	if b.Site.Name != "" {
		add("%s (%s)", ascii.Cut(b.Site.Name, 24), ascii.Cut(b.Site.Code, 14))
	}
	for _, p := range programs(b) {
		if p.head.Release != "" {
			release := p.head.Release
			if b.Init.V != nil && b.Init.V.Slot != "" {
				release += " slot " + b.Init.V.Slot
			}
			add("%s", ascii.Cut(release, 20))
			break
		}
	}
	add("ROLE: %s", role(b))
	if b.Init.Presence == Live {
		add("up %s", ascii.Age(b.Init.V.Booted, now))
	}
	return text
}

// role is the box's in the pair: master if it is of any group.
func role(b Box) string {
	if b.Pair.Presence != Live {
		return "UNKNOWN"
	}
	best := ""
	for _, g := range b.Pair.V.Groups {
		if best == "" || g.Role == wire.RoleMaster || best == wire.RoleInit {
			best = g.Role
		}
	}
	if best == "" {
		return "SINGLE"
	}
	return strings.ToUpper(best)
}

// past says that what follows is of a program that is gone.
func past(p Presence) string {
	if p == Dead {
		return "(as it was) "
	}
	return ""
}

// because says why there is nothing to show of a program.
func because(name string, p Presence, h wire.Header) string {
	for _, f := range h.Faults {
		if f.ID == "site.unusable" {
			return name + " waits for a usable site file"
		}
	}
	if p == Live {
		return name + " has not said yet"
	}
	return fmt.Sprintf("unknown: %s is %s", name, p)
}

func (s *screen) network(b Box, now time.Time) {
	if b.Net.V == nil || b.Net.V.LAN.Port == "" && len(b.Net.V.Uplinks) == 0 {
		s.line("LINES", "%s", because("netd", b.Net.Presence, head(b.Net.V)))
		return
	}
	s.line("LINE", "%-2s%-10s%-15s%6s %5s %6s  %s", "", "STATE", "ADDRESS", "RTT", "LOSS", "SINCE", "WHY")
	if len(b.Net.V.Uplinks) == 0 {
		s.line("-", "no internet line in the site file")
	}
	for _, u := range b.Net.V.Uplinks {
		s.uplink(u, u.Name == b.Net.V.Active, past(b.Net.Presence), now)
	}
	for _, t := range b.Net.V.Tunnels {
		text := fmt.Sprintf("%s%s %s for %s: %s", past(b.Net.Presence), t.Name, t.State, ascii.Age(t.Since, now), t.Reason)
		if t.State == wire.TunnelUp && t.Via != "" {
			text += ", by " + t.Via
		}
		if t.RTTMS > 0 {
			text += fmt.Sprintf(", RTT %.0fms", t.RTTMS)
		}
		s.text("TUNNEL", 2, "%s", text)
	}
}

// uplink is one row; the reason of one that does not work gets a row of its own
// when it is long.
func (s *screen) uplink(u wire.Uplink, active bool, past string, now time.Time) {
	mark, rtt, loss, why := "", "-", "-", "ready"
	if active {
		mark, why = "*", "in use"
	}
	if u.RTTMS > 0 {
		rtt = fmt.Sprintf("%.0fms", u.RTTMS)
	}
	if u.State == wire.UplinkUp || u.State == wire.UplinkDegraded {
		loss = fmt.Sprintf("%.0f%%", u.LossPct)
	}
	if u.State != wire.UplinkUp || past != "" {
		why = past + u.Reason
	}
	address, _, _ := strings.Cut(u.Address, "/")
	if address == "" {
		address = "-"
	}
	row := fmt.Sprintf("%-2s%-10s%-15s%6s %5s %6s", mark, u.State, address, rtt, loss, ascii.Age(u.Since, now))
	if label+1+len(row)+2+len(why) <= s.width {
		row, why = row+"  "+why, ""
	}
	s.line(ascii.Cut(ascii.Text(u.Name), label-1), "%s", row)
	if why != "" {
		s.text("", 2, "- %s", why)
	}
}

func (s *screen) pair(b Box, now time.Time) {
	for _, row := range Groups(b, now) {
		s.text("PAIR", 2, "%s", row)
	}
}

func (s *screen) cards(b Box, now time.Time) { s.text("CARDS", 2, "%s", Cards(b, now)) }

func (s *screen) uploads(b Box, now time.Time) {
	if b.Sync.V == nil || b.Sync.V.Lanes == nil {
		s.line("QUEUE", "%s", because("syncd", b.Sync.Presence, head(b.Sync.V)))
		return
	}
	y := b.Sync.V
	var lanes []string
	delivered := uint64(0)
	for _, l := range y.Lanes {
		text := fmt.Sprintf("%s %d", l.Name, l.Waiting)
		if l.Waiting > 0 {
			text += fmt.Sprintf(" (oldest %s, %s)", ascii.Age(l.Oldest, now), ascii.Size(l.Bytes))
		}
		lanes = append(lanes, text)
		delivered += l.Delivered
	}
	lanes = append(lanes, fmt.Sprintf("held %d", y.Held), fmt.Sprintf("delivered %d", delivered))
	s.text("QUEUE", 2, "%s%s", past(b.Sync.Presence), strings.Join(lanes, "  "))
	if m := Mirror(b, now); m != "" {
		s.text("MIRROR", 2, "%s", m)
	}
	if to := Partners(b, now); to != "" {
		s.text("TO", 2, "%s", to)
	}
	s.text("RECORDS", 2, "%s", Records(b, now))
}

func (s *screen) programs(b Box, now time.Time) {
	if b.Init.V == nil {
		s.line("PROGRAMS", "%s", because("init", b.Init.Presence, head(b.Init.V)))
		return
	}
	text := past(b.Init.Presence)
	for i, p := range b.Init.V.Services {
		if i > 0 {
			text += "  "
		}
		switch text += p.Name; {
		case p.State == wire.ServiceReady:
			text += fmt.Sprintf(" %dM", (p.RSS+1<<19)>>20)
		default:
			text += " " + strings.ToUpper(p.State)
		}
		if p.Restarts > 0 {
			text += fmt.Sprintf(" (%s)", plural(p.Restarts, "restart", "restarts"))
		}
	}
	s.text("PROGRAMS", 2, "%s", text)
}

// boot has a line as long as nothing that is wrong needs it.
func (s *screen) boot(b Box) {
	if b.Init.V == nil {
		return
	}
	if text := Boot(b.Init.V); text != "" {
		s.line("BOOT", "%s%s", past(b.Init.Presence), text)
	}
}

// Boot says what was proven of the system before it ran, and what its kernel
// denies even to root; "" when neither is known.
func Boot(i *wire.Init) string {
	var parts []string
	if i.SecureBoot != "" {
		parts = append(parts, "Secure Boot "+i.SecureBoot)
	}
	if i.Lockdown != "" {
		parts = append(parts, "kernel lockdown "+i.Lockdown)
	}
	if key, none := i.Attest, strings.HasPrefix(i.Attest, "none"); key != "" && !none {
		parts = append(parts, fmt.Sprintf("TPM attests as %.8s", key))
	}
	return strings.Join(parts, ", ")
}

// findings lists what is wrong and what to do, each whole, as far as they fit.
func (s *screen) findings(all []Finding, now time.Time, height int) {
	if len(all) == 0 {
		s.line("", "nothing is wrong")
		return
	}
	for i, f := range all {
		one := &screen{width: s.width}
		one.finding(f, now)
		spare := 0
		if i < len(all)-1 {
			spare = 1 // for the line that counts the rest
		}
		if height > 0 && len(s.lines)+len(one.lines)+spare > height {
			s.line("", "%d more: `gatectl doctor` shows all", len(all)-i)
			return
		}
		s.lines = append(s.lines, one.lines...)
	}
}

func (s *screen) finding(f Finding, now time.Time) {
	what := f.Where + ": " + f.What
	if !f.Since.IsZero() {
		what = fmt.Sprintf("%s, for %s: %s", f.Where, ascii.Age(f.Since, now), f.What)
	}
	s.text(strings.ToUpper(string(f.Severity)), 4, "%s", what)
	s.text("", 3, "DO: %s", f.Do)
}

package screen

import (
	"fmt"
	"strings"

	"clinicgate/firmware/ascii"
)

// maxLines is as much as is kept of a command's words: the last of them.
const maxLines = 500

// page is what a command of the menu says and asks.
type page struct {
	title  string
	lines  []string
	part   string // a line that has not ended
	top    int    // first line that is shown, unless follow
	follow bool   // the last line is shown
	ask    string // the question
	asks   bool   // it waits for an answer
	hidden bool   // which is not shown
	over   bool   // the command has ended
}

// Open begins a page.
func (m *Model) Open(title string) {
	m.page = &page{title: title}
}

// Say adds a command's words to its page; without a page they are nobody's.
func (m *Model) Say(text string) {
	if m.page != nil {
		m.page.say(text)
	}
}

// Ask puts a command's question. What was typed before it was to be read is no
// answer to it.
func (m *Model) Ask(question string, hidden bool) {
	if p := m.page; p != nil {
		p.ask, p.asks, p.hidden, p.follow = question, true, hidden, true
		m.typed.text, m.typed.over = m.typed.text[:0], false
	}
}

// Over says that the command has ended, with an error's text or without.
func (m *Model) Over(err string) {
	p := m.page
	if p == nil {
		return
	}
	if p.part != "" {
		p.say("\n")
	}
	if err != "" {
		p.say(p.title + ": " + err + "\n")
		p.follow = true
	}
	p.over, p.asks, p.hidden = true, false, false
}

// Busy reports whether a command is at work on the page that is open.
func (m *Model) Busy() bool { return m.page != nil && !m.page.over }

func answered(p *page, text string) string {
	if p.hidden {
		text = strings.Repeat("*", len(text))
	}
	p.hidden = false
	return p.ask + " " + text + "\n"
}

func (p *page) say(text string) {
	parts := strings.Split(p.part+text, "\n")
	p.part = ascii.Cut(parts[len(parts)-1], 4*maxWidth)
	for _, l := range parts[:len(parts)-1] {
		p.lines = append(p.lines, strings.TrimRight(ascii.Text(ascii.Cut(l, 4*maxWidth)), " "))
	}
	if drop := len(p.lines) - maxLines; drop > 0 {
		p.lines = append([]string(nil), p.lines[drop:]...)
		p.top = max(0, p.top-drop)
	}
}

// wrapped is the page's text in rows of that width.
func (p *page) wrapped(width int) []string {
	var rows []string
	lines := p.lines
	if p.part != "" {
		lines = append(lines[:len(lines):len(lines)], ascii.Text(p.part))
	}
	for _, l := range lines {
		for len(l) > width {
			rows, l = append(rows, l[:width]), "    "+l[width:]
		}
		rows = append(rows, l)
	}
	return rows
}

// rows are the title and as much of the text as fits.
func (p *page) rows(width, room int) []string {
	all := p.wrapped(width)
	body := max(1, room-2)
	last := max(0, len(all)-body)
	top := min(p.top, last)
	if p.follow {
		top = last
	}
	shown := all[top:min(len(all), top+body)]
	title := " " + strings.ToUpper(p.title)
	if len(all) > body {
		title += fmt.Sprintf("  (%d-%d of %d)", top+1, top+len(shown), len(all))
	}
	return append([]string{title, " " + strings.Repeat("-", width-1)}, shown...)
}

// more reports whether there is something below.
func (p *page) more(width, room int) bool {
	return !p.follow && p.top+max(1, room-2) < len(p.wrapped(width))
}

func (p *page) down(width, room int) {
	p.top = min(p.top+max(1, room-2), max(0, len(p.wrapped(width))-1))
}

// scroll pages down, and begins again from the end.
func (m *Model) scroll() {
	if m.page == nil || m.page.asks {
		return
	}
	if !m.page.more(m.width-1, m.room()) {
		m.page.top, m.page.follow = 0, false
		return
	}
	m.page.down(m.width-1, m.room())
}

// prompt says what the page waits for.
func (p *page) prompt(width, room int) string {
	switch {
	case p.asks:
		return " " + ascii.Cut(ascii.Text(p.ask), 60) + " "
	case !p.over:
		return " working... "
	case p.more(width, room):
		return " Enter: more   b: back   or a command: "
	}
	return " Enter: back   or a command: "
}

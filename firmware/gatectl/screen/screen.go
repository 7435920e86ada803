// Package screen is the serial console as a value: what is seen of the box, what is
// typed and the time go in, the rows of a screen come out. Its one guarantee: never
// more rows or columns than the terminal has, all of it printable 7-bit ASCII, and
// a bounded state whatever comes in.
package screen

import (
	"strconv"
	"strings"
	"time"

	"clinicgate/firmware/ascii"
	"clinicgate/firmware/status"
)

// The size of a terminal that does not tell its own, and bounds on one that does.
const (
	Width, Height       = 80, 24
	minWidth, minHeight = 20, 6
	maxWidth, maxHeight = 240, 100
)

// Item is one line of the menu: typed as its number or its word, with an argument
// if it takes one.
type Item struct {
	Word string
	Help string
}

// Act is what the terminal's hands are to do.
type Act struct {
	Kind Kind
	Item int    // of Run
	Arg  string // of Run; the answer of Answer
}

// Kind of an act.
type Kind int

// The kinds.
const (
	Run    Kind = iota // a command of the menu
	Answer             // hand the typed line to the command that asked
	Leave              // tell the command that nobody will answer
	Redraw             // all of the screen: the terminal may show anything
	Plain              // the numbered menu without a screen
)

// Model is the console's state.
type Model struct {
	width, height int
	items         []Item
	box           status.Box
	at            time.Time // of box; zero until the first look
	past          history
	page          *page // nil: the status
	typed         line
	note          string // what was wrong with what was typed
}

// New makes a console with that menu.
func New(items []Item) *Model {
	return &Model{width: Width, height: Height, items: items}
}

// Resize takes the terminal's size; zeros, as a serial line tells, mean 80x24.
func (m *Model) Resize(width, height int) {
	if width <= 0 || height <= 0 {
		width, height = Width, Height
	}
	m.width = min(max(width, minWidth), maxWidth)
	m.height = min(max(height, minHeight), maxHeight)
}

// Size is the terminal's.
func (m *Model) Size() (width, height int) { return m.width, m.height }

// Look takes what was seen of the box.
func (m *Model) Look(b status.Box, now time.Time) {
	m.box, m.at = b, now
	m.past.note(b, now)
}

// Type takes what came from the keyboard, in pieces of any size, and returns what
// is to be done about it. Of a paste only the last line counts, and only on the
// status and where a command waits for an answer.
func (m *Model) Type(keys []byte) []Act {
	var acts []Act
	for _, key := range keys {
		text, what := m.typed.key(key)
		switch what {
		case keyEnter:
			acts = m.entered(acts, text)
		case keyRedraw:
			acts = add(acts, Act{Kind: Redraw})
		case keyEscape:
			acts = m.escaped(acts)
		case keyMore:
			m.scroll()
		}
	}
	return acts
}

// maxActs bounds what one piece of input can ask for: a command a line, and noise
// is no reason for hundreds.
const maxActs = 4

func add(acts []Act, a Act) []Act {
	if len(acts) >= maxActs || len(acts) > 0 && acts[len(acts)-1] == a {
		return acts
	}
	return append(acts, a)
}

// entered obeys one line.
func (m *Model) entered(acts []Act, text string) []Act {
	m.note = ""
	if p := m.page; p != nil {
		switch {
		case p.asks:
			p.asks = false
			p.say(answered(p, text))
			return add(acts, Act{Kind: Answer, Arg: text})
		case p.over && text == "" && !p.more(m.width-1, m.room()):
			m.page = nil
			return add(acts, Act{Kind: Redraw})
		case text == "":
			p.down(m.width-1, m.room())
			return acts
		case !p.over:
			return acts // it works; there is nothing to obey
		}
	}
	word, arg, _ := strings.Cut(text, " ")
	switch {
	case text == "":
		return add(acts, Act{Kind: Redraw}) // Enter on a line just plugged in
	case word == "plain":
		return add(acts, Act{Kind: Plain})
	case word == "?" || word == "help":
		m.help()
		return acts
	}
	i, ok := m.find(word)
	if !ok {
		m.note = "no such command: " + ascii.Cut(text, 30) + " (? lists them)"
		return acts
	}
	if len(acts) >= maxActs {
		return acts
	}
	m.Open(m.items[i].Word)
	return append(acts, Act{Kind: Run, Item: i, Arg: strings.TrimSpace(arg)})
}

func (m *Model) find(word string) (int, bool) {
	if n, err := strconv.Atoi(word); err == nil && n >= 1 && n <= len(m.items) {
		return n - 1, true
	}
	for i, item := range m.items {
		if item.Word == word {
			return i, true
		}
	}
	return 0, false
}

// escaped goes back to the status; a command that waits for an answer is told.
func (m *Model) escaped(acts []Act) []Act {
	m.note = ""
	if m.page == nil {
		return acts
	}
	if !m.page.over {
		acts = add(acts, Act{Kind: Leave})
	}
	m.page = nil
	return add(acts, Act{Kind: Redraw})
}

// help is a page about the menu.
func (m *Model) help() {
	m.Open("help")
	for i, item := range m.items {
		m.Say(" " + strconv.Itoa(i+1) + ") " + item.Word + strings.Repeat(" ", max(1, 12-len(item.Word)-len(strconv.Itoa(i+1)))) + item.Help + "\n")
	}
	m.Say("\n Type a number or a word, then Enter. Ctrl-L draws the screen again. Escape, or b\n" +
		" and Enter, leads back. The word plain leaves the full screen, for terminals that\n can't show it.\n")
	m.Over("")
}

// Rows draws the screen: exactly as many rows as the terminal has, none longer than
// its width less one, and where the cursor is.
func (m *Model) Rows() (rows []string, x, y int) {
	foot := m.foot()
	room := m.height - len(foot)
	if m.page != nil {
		rows = m.page.rows(m.width-1, room)
	} else {
		rows = m.status(room)
	}
	for len(rows) < room {
		rows = append(rows, "")
	}
	rows = append(rows[:room], foot...)
	for i, row := range rows {
		rows[i] = strings.TrimRight(ascii.Cut(ascii.Text(row), m.width-1), " ")
	}
	prompt := foot[len(foot)-1]
	return rows, min(len(prompt), m.width-2), m.height - 1
}

// room is how many rows there are above the menu and the prompt.
func (m *Model) room() int { return m.height - len(m.foot()) }

// foot is the menu and the prompt.
func (m *Model) foot() []string {
	prompt := " Choose: "
	if m.page != nil {
		prompt = m.page.prompt(m.width-1, m.height-1)
	}
	typed := m.typed.shown(m.page != nil && m.page.hidden, m.width-2-len(prompt))
	foot := []string{prompt + typed}
	if m.note != "" {
		foot = append([]string{" " + m.note}, foot...)
	}
	if m.page == nil {
		foot = append(m.menu(), foot...)
	}
	return foot
}

// menu is as many items to a row as fit, two rows at most.
func (m *Model) menu() []string {
	rows, row := []string{}, ""
	for i, item := range m.items {
		text := " " + strconv.Itoa(i+1) + ")" + item.Word
		if len(row)+len(text) > m.width-1 {
			rows, row = append(rows, row), ""
		}
		row += text
	}
	rows = append(rows, row+" ?)help")
	return rows[:min(len(rows), 2)]
}

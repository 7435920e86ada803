// Package vt100 is a terminal of 1978 for tests: it shows what a VT100 would, and
// what a VT100 would not understand it remembers as a mistake, and every question
// that would make it answer too.
package vt100

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Terminal is one of some size. It may be written and read at the same time.
type Terminal struct {
	mu            sync.Mutex
	width, height int
	cells         [][]byte
	x, y          int
	top, bottom   int // of the scrolling region
	saved         [2]int
	wrap          bool // the last column is written; the next character wraps
	pending       []byte
	mistakes      []string
	bytes         int
}

// New returns an empty terminal.
func New(width, height int) *Terminal {
	t := &Terminal{width: width, height: height, bottom: height - 1}
	for range height {
		t.cells = append(t.cells, blank(width))
	}
	return t
}

func blank(n int) []byte { return []byte(strings.Repeat(" ", n)) }

// Screen is the rows, without blanks at their ends.
func (t *Terminal) Screen() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, row := range t.cells {
		b.WriteString(strings.TrimRight(string(row), " ") + "\n")
	}
	return b.String()
}

// Mistakes are what came and is no VT100's, at most a hundred.
func (t *Terminal) Mistakes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.mistakes...)
}

// Bytes is how much was written.
func (t *Terminal) Bytes() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes
}

// Write takes output in pieces of any size.
func (t *Terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes += len(p)
	for _, b := range p {
		t.byte(b)
	}
	return len(p), nil
}

func (t *Terminal) mistake(format string, args ...any) {
	if len(t.mistakes) < 100 {
		t.mistakes = append(t.mistakes, fmt.Sprintf(format, args...))
	}
}

func (t *Terminal) byte(b byte) {
	switch {
	case len(t.pending) > 0:
		t.pending = append(t.pending, b)
		n := len(t.pending)
		if n == 2 && b == '[' || n > 2 && b >= 0x20 && b < 0x40 {
			return
		}
		t.obey(string(t.pending[1:n-1]), b)
		t.pending = t.pending[:0]
	case b == 0x1b:
		t.pending = append(t.pending, b)
	case b == '\r':
		t.x, t.wrap = 0, false
	case b == '\n':
		t.feed()
	case b == '\b':
		t.x, t.wrap = max(0, t.x-1), false
	case b == 7:
	case b >= ' ' && b <= '~':
		t.print(b)
	default:
		t.mistake("byte %#x", b)
	}
}

func (t *Terminal) print(b byte) {
	if t.wrap {
		t.x, t.wrap = 0, false
		t.feed()
	}
	t.cells[t.y][t.x] = b
	if t.x == t.width-1 {
		t.wrap = true
		return
	}
	t.x++
}

// feed goes down a row, and scrolls at the end of the region.
func (t *Terminal) feed() {
	t.wrap = false
	switch {
	case t.y == t.bottom:
		copy(t.cells[t.top:t.bottom+1], t.cells[t.top+1:t.bottom+1])
		t.cells[t.bottom] = blank(t.width)
	case t.y < t.height-1:
		t.y++
	}
}

// obey does one sequence: what stood between ESC and its last byte, and that.
func (t *Terminal) obey(between string, final byte) {
	if between == "" {
		t.escape(final)
		return
	}
	var n []int
	for _, s := range strings.Split(between[1:], ";") {
		v, err := strconv.Atoi(s)
		if err != nil && s != "" {
			t.mistake("ESC %s%c", between, final)
			return
		}
		n = append(n, v)
	}
	one := max(1, n[0])
	t.wrap = false
	switch final {
	case 'A':
		t.y = max(0, t.y-one)
	case 'B':
		t.y = min(t.height-1, t.y+one)
	case 'C':
		t.x = min(t.width-1, t.x+one)
	case 'D':
		t.x = max(0, t.x-one)
	case 'H', 'f':
		column := 1
		if len(n) > 1 {
			column = max(1, n[1])
		}
		t.y, t.x = min(t.height, one)-1, min(t.width, column)-1
	case 'J':
		t.erase(n[0], t.y*t.width+t.x, t.width*t.height, 0)
	case 'K':
		t.erase(n[0], t.y*t.width+t.x, (t.y+1)*t.width, t.y*t.width)
	case 'm':
	case 'r':
		t.region(n)
	default:
		t.mistake("ESC %s%c", between, final)
	}
}

func (t *Terminal) escape(final byte) {
	switch final {
	case 'D':
		t.feed()
	case 'E':
		t.x = 0
		t.feed()
	case 'M':
		if t.y == t.top {
			copy(t.cells[t.top+1:t.bottom+1], t.cells[t.top:t.bottom])
			t.cells[t.top] = blank(t.width)
		} else {
			t.y = max(0, t.y-1)
		}
	case '7':
		t.saved = [2]int{t.x, t.y}
	case '8':
		t.x, t.y = t.saved[0], t.saved[1]
	default:
		t.mistake("ESC %c", final)
	}
}

// erase blanks cells from the cursor to the end, from the beginning to the cursor,
// or all.
func (t *Terminal) erase(how, at, end, begin int) {
	switch how {
	case 0:
		begin = at
	case 1:
		end = at + 1
	}
	for i := begin; i < end; i++ {
		t.cells[i/t.width][i%t.width] = ' '
	}
}

func (t *Terminal) region(n []int) {
	t.top, t.bottom = 0, t.height-1
	if len(n) == 2 && n[0] < n[1] && n[1] <= t.height {
		t.top, t.bottom = max(1, n[0])-1, n[1]-1
	}
	t.x, t.y = 0, 0
}

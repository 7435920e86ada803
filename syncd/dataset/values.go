package dataset

import (
	"strconv"
	"strings"
)

// Bytes is the value of a kept element that has passed, as it was sent; nil if it
// has not.
func (r *Reader) Bytes(t Tag) []byte { return r.values[t] }

// Text is a kept value without its padding (PS3.5 §6.2). For values of the
// default character set: UIDs, identifiers, dates, codes.
func (r *Reader) Text(t Tag) string { return strings.Trim(string(r.values[t]), " \x00") }

// number is a kept US or IS value, 0 if there is none.
func (r *Reader) number(t Tag) int64 {
	v := r.values[t]
	if len(v) == 2 && t != frames {
		return int64(nest{big: r.syntax.BigEndian}.uint16(v))
	}
	n, err := strconv.ParseInt(strings.TrimSpace(r.Text(t)), 10, 32)
	if err != nil {
		return 0
	}
	return n
}

// ratio is what the JPEG of moving pictures saves at the least, roughly.
const ratio = 10

// Expect estimates the size of the whole data set from what has passed: what is
// announced, or for compressed pictures what their number and size suggest. It is
// good enough to choose a lane by, not to reserve space.
func (r *Reader) Expect() int64 {
	size := r.at + r.left
	for _, n := range r.stack {
		size = max(size, n.end)
	}
	if !r.syntax.Encapsulated {
		return size
	}
	pictures := float64(max(r.number(frames), 1)) * float64(r.number(rows)) * float64(r.number(columns)) *
		float64(max(r.number(samples), 1)) * float64(r.number(bits)) / 8
	return max(size, int64(min(pictures/ratio, 1<<50)))
}

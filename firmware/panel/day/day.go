// Package day remembers how each line to the internet did in the last 24 hours, a
// point a minute. Its one guarantee: what is read back is what was kept, or
// nothing.
package day

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"clinicgate/firmware/wire"
)

// Minutes is the number of points.
const Minutes = 24 * 60

// Bounds of what is remembered.
const (
	maxLines = 16
	maxName  = 64
)

// Service of a line in one minute.
const (
	Unknown byte = iota // the box was off, or nobody measured
	Works
	Weak // lossy or slow
	Out
)

// Point is one minute; of several measurements the worst.
type Point struct {
	Service byte
	Loss    uint8  // %
	RTT     uint16 // tenths of a ms; 0 while unknown
	Rx, Tx  uint32 // kbit/s
}

// Day is the memory. The zero value is empty.
type Day struct{ lines map[string]*ring }

type ring struct {
	last   int64 // minute of the newest point, since 1970
	points [Minutes]Point
}

// Add notes how the lines are now. Lines that are gone for a day are forgotten.
func (d *Day) Add(now time.Time, up []wire.Uplink) {
	if d.lines == nil {
		d.lines = map[string]*ring{}
	}
	minute := now.Unix() / 60
	for _, u := range up {
		r := d.lines[u.Name]
		if r == nil && (len(d.lines) >= maxLines || len(u.Name) > maxName || u.Name == "") {
			continue
		}
		if r == nil {
			r = &ring{last: minute - Minutes}
			d.lines[u.Name] = r
		}
		r.add(minute, point(u))
	}
	maps.DeleteFunc(d.lines, func(_ string, r *ring) bool { return minute-r.last >= Minutes })
}

func point(u wire.Uplink) Point {
	p := Point{
		Service: Out, Loss: uint8(clamp(u.LossPct, 100)), RTT: uint16(clamp(u.RTTMS*10, 1<<16-1)),
		Rx: uint32(clamp(u.RxBPS/1000, 1<<32-1)), Tx: uint32(clamp(u.TxBPS/1000, 1<<32-1)),
	}
	switch u.State {
	case wire.UplinkUp:
		p.Service = Works
	case wire.UplinkDegraded:
		p.Service = Weak
	default:
		p.RTT, p.Loss = 0, 0
	}
	return p
}

func clamp(v, most float64) float64 { return min(max(v, 0), most) }

// add puts a point at its minute. A clock that was set forward leaves a gap; one
// that was set back takes the points of the time that was not.
func (r *ring) add(minute int64, p Point) {
	switch ahead := minute - r.last; {
	case ahead >= Minutes || ahead <= -Minutes:
		r.points = [Minutes]Point{}
	case ahead > 0:
		for m := r.last + 1; m < minute; m++ {
			r.points[slot(m)] = Point{}
		}
	case ahead < 0:
		for m := minute + 1; m <= r.last; m++ {
			r.points[slot(m)] = Point{}
		}
	default:
		old := r.points[slot(minute)]
		p = Point{
			Service: max(old.Service, p.Service), Loss: max(old.Loss, p.Loss), RTT: max(old.RTT, p.RTT),
			Rx: max(old.Rx, p.Rx), Tx: max(old.Tx, p.Tx),
		}
	}
	r.last = minute
	r.points[slot(minute)] = p
}

func slot(minute int64) int64 { return (minute%Minutes + Minutes) % Minutes }

// Line is the day of one line until now, the oldest minute first; nil for a line
// that is not known.
func (d *Day) Line(name string, now time.Time) []Point {
	r := d.lines[name]
	if r == nil {
		return nil
	}
	out := make([]Point, Minutes)
	minute := now.Unix() / 60
	for i := range out {
		if m := minute - Minutes + 1 + int64(i); m <= r.last && m > r.last-Minutes {
			out[i] = r.points[slot(m)]
		}
	}
	return out
}

// Clone is the day as it is now, for somebody who reads while it goes on.
func (d *Day) Clone() *Day {
	out := &Day{lines: map[string]*ring{}}
	for name, r := range d.lines {
		same := *r
		out.lines[name] = &same
	}
	return out
}

// The file: magic, number of lines, then of each its name, its last minute and its
// points from slot 0; at the end the CRC-32C of all before.
const (
	magic     = "cgday 1\n"
	pointSize = 12
)

// ErrDamaged is what was not kept by Append, or not whole.
var ErrDamaged = errors.New("not a day that was kept")

// Append appends the day as it is kept.
func (d *Day) Append(b []byte) []byte {
	start := len(b)
	b = append(append(b, magic...), byte(len(d.lines)))
	for _, name := range slices.Sorted(maps.Keys(d.lines)) {
		r := d.lines[name]
		b = append(append(b, byte(len(name))), name...)
		b = binary.LittleEndian.AppendUint64(b, uint64(r.last))
		for _, p := range r.points {
			b = append(b, p.Service, p.Loss)
			b = binary.LittleEndian.AppendUint16(b, p.RTT)
			b = binary.LittleEndian.AppendUint32(b, p.Rx)
			b = binary.LittleEndian.AppendUint32(b, p.Tx)
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], crc32.MakeTable(crc32.Castagnoli)))
}

// Parse reads what Append wrote.
func Parse(b []byte) (*Day, error) {
	n := len(b) - 4
	if n < len(magic)+1 || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: %d bytes", ErrDamaged, len(b))
	}
	if crc32.Checksum(b[:n], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(b[n:]) {
		return nil, fmt.Errorf("%w: checksum", ErrDamaged)
	}
	count, b := int(b[len(magic)]), b[len(magic)+1:n]
	d := &Day{lines: map[string]*ring{}}
	if count > maxLines {
		return nil, fmt.Errorf("%w: %d lines", ErrDamaged, count)
	}
	for range count {
		if len(b) < 1 || len(b) < 1+int(b[0])+8+Minutes*pointSize {
			return nil, fmt.Errorf("%w: cut short", ErrDamaged)
		}
		name := string(b[1 : 1+b[0]])
		b = b[1+len(name):]
		r := &ring{last: int64(binary.LittleEndian.Uint64(b))}
		if name == "" || len(name) > maxName || d.lines[name] != nil || r.last < 0 || r.last > 1<<40 {
			return nil, fmt.Errorf("%w: a line's name or time", ErrDamaged)
		}
		b = b[8:]
		for i := range r.points {
			r.points[i] = Point{
				Service: min(b[0], Out), Loss: b[1], RTT: binary.LittleEndian.Uint16(b[2:]),
				Rx: binary.LittleEndian.Uint32(b[4:]), Tx: binary.LittleEndian.Uint32(b[8:]),
			}
			b = b[pointSize:]
		}
		d.lines[name] = r
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", ErrDamaged, len(b))
	}
	return d, nil
}

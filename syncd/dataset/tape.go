package dataset

import "bufio"

// tape reads from src and remembers what it read until it is taken away. It reads
// no further than asked, byte by byte where the inflater wants that, so what it
// remembers is just what was looked at.
type tape struct {
	src  *bufio.Reader
	kept []byte
	off  int // of what was taken away already
}

func (t *tape) Read(p []byte) (int, error) {
	n, err := t.src.Read(p)
	t.kept = append(t.kept, p[:n]...)
	return n, err
}

func (t *tape) ReadByte() (byte, error) {
	b, err := t.src.ReadByte()
	if err == nil {
		t.kept = append(t.kept, b)
	}
	return b, err
}

func (t *tape) pending() int { return len(t.kept) - t.off }

func (t *tape) take(p []byte) int {
	n := copy(p, t.kept[t.off:])
	t.off += n
	if t.off == len(t.kept) {
		t.kept, t.off = t.kept[:0], 0
	}
	return n
}

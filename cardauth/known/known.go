// Package known remembers whose each card's key was, for good: a key that has
// proven itself for one person never does for another. Two cards with one key come
// of a card maker's bad random numbers or of a copied key, and neither proves
// anything about who is there.
package known

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"clinicgate/firmware/durable"
)

// ErrOther is a key that was somebody else's.
var ErrOther = errors.New("this key was seen on another person's card")

// Bounds: some decades of a large clinic, and a subject as others write it.
const (
	maxKeys    = 200_000
	maxSubject = 128
)

// A Book is the keys seen so far: a file of lines, the SHA-256 of a public key in
// hex, a space and the subject. Safe for concurrent use.
type Book struct {
	path   string
	counts func(subject string) bool

	mu  sync.Mutex
	who map[[32]byte]string
}

// Open reads the book at path; there need be none. Subjects for which counts says no
// are left out. Lines that can't be read are too, and are said in the error, beside
// the book with all the others: it is of use, and no card is refused for them.
func Open(path string, counts func(subject string) bool) (*Book, error) {
	b := &Book{path: path, counts: counts, who: map[[32]byte]string{}}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, fmt.Errorf("read known keys: %w", err)
	}
	defer file.Close()
	return b, b.read(file)
}

// read takes in lines. The last one may be half: that login was never answered.
func (b *Book) read(from io.Reader) error {
	var bad error
	lines := bufio.NewReaderSize(io.LimitReader(from, maxKeys*(2*32+2+maxSubject)), 4096)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return bad
		}
		if err != nil {
			return fmt.Errorf("read known keys: %w", err)
		}
		key, who, ok := parse(bytes.TrimSuffix(line, []byte("\n")))
		if !ok {
			bad = fmt.Errorf("known keys: line %d is damaged: want a key's SHA-256 in hex, a space and whose it is", n)
			continue
		}
		if _, is := b.who[key]; !is && b.counts(who) { // the first one counts
			b.who[key] = who
		}
	}
}

func parse(line []byte) (key [32]byte, who string, ok bool) {
	digits, rest, found := bytes.Cut(line, []byte(" "))
	if !found || len(digits) != hex.EncodedLen(len(key)) || len(rest) == 0 || len(rest) > maxSubject {
		return key, "", false
	}
	_, err := hex.Decode(key[:], digits)
	return key, string(rest), err == nil
}

// Check says whether a key may be this subject's: nobody else's, as far as is known.
func (b *Book) Check(key [32]byte, subject string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if who, ok := b.who[key]; ok && who != subject {
		return ErrOther
	}
	return nil
}

// Remember notes whose a key is that has just proven itself. With an error it is
// known until the program ends only.
//
//	stop before it returns: the line is there, or not, or half and not counted
//	stop after: it is there
func (b *Book) Remember(key [32]byte, subject string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	who, ok := b.who[key]
	switch {
	case ok && who != subject:
		return ErrOther
	case ok:
		return nil
	case len(b.who) >= maxKeys:
		return fmt.Errorf("known keys: got %d of them, want no more", maxKeys)
	case subject == "" || len(subject) > maxSubject || bytes.ContainsAny([]byte(subject), "\r\n"):
		return fmt.Errorf("known keys: got a subject of %d bytes, want one line of 1 to %d", len(subject), maxSubject)
	}
	b.who[key] = subject
	if err := b.append(fmt.Sprintf("%x %s\n", key, subject)); err != nil {
		return fmt.Errorf("keep known keys: %w", err)
	}
	return nil
}

// append adds one line. What an earlier stop left half is ended first, so that it
// spoils no more than itself.
func (b *Book) append(line string) error {
	file, err := os.OpenFile(b.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err == nil && size > 0 {
		var last [1]byte
		if _, err = file.ReadAt(last[:], size-1); err == nil && last[0] != '\n' {
			line = "\n" + line
		}
	}
	if err == nil {
		_, err = file.WriteString(line)
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil && size == 0 {
		err = durable.SyncDir(filepath.Dir(b.path))
	}
	return err
}

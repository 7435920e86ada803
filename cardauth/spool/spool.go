// Package spool keeps events until they are taken over. Its guarantee: what
// Append returned for is on disk, sealed and in order, and is offered until it is
// acknowledged; a session that was begun and not ended is known after any stop.
//
// The file is a header and frames, each sealed with AES-256-GCM:
//
//	frame   length (4) ‖ nonce (12) ‖ sealed JSON
//	sealed with  epoch (16) ‖ number (8) ‖ SHA-256 of the frame before
//
// so that no frame can be altered, left out or put elsewhere. A torn frame at the
// end was never acknowledged and is cut off.
package spool

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// A Record is one event in the spool.
type Record struct {
	N     uint64          `json:"n"` // from 1, without gaps
	Event json.RawMessage `json:"event"`
	// Begins and Ends name a session that this event began or ended.
	Begins string `json:"begins,omitempty"`
	Ends   string `json:"ends,omitempty"`
	// Note is what the end of that session will be told with.
	Note json.RawMessage `json:"note,omitempty"`
}

// What callers branch on.
var (
	ErrFull    = errors.New("spool is full")
	ErrDamaged = errors.New("spool is damaged")
)

// KeySize is the length of the key in bytes.
const KeySize = 32

// Bounds. Sessions that end may use the last part: a full spool must not keep
// anybody logged in.
const (
	MaxSize   = 16 << 20
	reserve   = 1 << 20
	maxRecord = 64 << 10
	slack     = 64 << 10 // acknowledged bytes the file may carry
	headSize  = 8 + 16
)

const magic = "CGSPOOL1"

// A Spool is an open spool. Safe for concurrent use.
type Spool struct {
	path string
	aead cipher.AEAD

	mu    sync.Mutex
	file  *os.File
	size  int64
	epoch [16]byte
	next  uint64
	prev  [sha256.Size]byte
	kept  []kept            // not acknowledged
	open  map[string]Record // sessions begun and not ended
	bad   error             // a write failed: what the file holds is not known
}

type kept struct {
	Record
	end int64 // of its frame
}

// state is the first frame of a file: what the frames cut off before it left.
type state struct {
	Next uint64            `json:"next"` // number of the frame behind it
	Open map[string]Record `json:"open"`
}

// Open opens the spool at path, or makes one. A file that can't be believed is
// put aside as path.damaged, beside a new spool, and returned as ErrDamaged:
// logins must go on, but somebody must know.
func Open(path string, key []byte) (*Spool, error) {
	block, err := aes.NewCipher(key)
	if err != nil || len(key) != KeySize {
		return nil, fmt.Errorf("open spool: got a key of %d bytes, want %d", len(key), KeySize)
	}
	s := &Spool{path: path, open: map[string]Record{}}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, s.begin()
	case err != nil:
		return nil, fmt.Errorf("open spool: %w", err)
	}
	whole, err := s.load(data)
	if err != nil {
		return s, errors.Join(err, s.putAside())
	}
	return s, s.reopen(whole)
}

// putAside renames a file that can't be believed and begins a new spool.
func (s *Spool) putAside() error {
	if err := os.Rename(s.path, s.path+".damaged"); err != nil {
		return fmt.Errorf("put the damaged spool aside: %w", err)
	}
	s.kept, s.open = nil, map[string]Record{}
	return s.begin()
}

// begin makes a new spool of a new epoch.
func (s *Spool) begin() error {
	rand.Read(s.epoch[:])
	s.next = 1
	return s.rewrite()
}

// load reads the file's frames and returns how many bytes of it are whole.
func (s *Spool) load(data []byte) (int64, error) {
	if len(data) < headSize || string(data[:8]) != magic {
		return 0, fmt.Errorf("%w: got no header", ErrDamaged)
	}
	copy(s.epoch[:], data[8:headSize])
	s.prev = [sha256.Size]byte{}
	off, first := int64(headSize), true
	for {
		text, size, whole := s.frame(data[off:], first)
		if !whole {
			if first || !torn(data[off:]) {
				return 0, fmt.Errorf("%w: the frame at byte %d does not open", ErrDamaged, off)
			}
			return off, nil
		}
		off += size
		if err := s.replay(text, first, off); err != nil {
			return 0, err
		}
		first = false
	}
}

// torn says of what is behind the last whole frame that it is the end, or one
// frame that a stop tore: then nothing is behind that but zeros.
func torn(rest []byte) bool {
	if len(rest) < 4 {
		return true
	}
	n := int64(binary.BigEndian.Uint32(rest))
	return 4+n >= int64(len(rest)) || len(bytes.Trim(rest[4+n:], "\x00")) == 0
}

func (s *Spool) replay(text []byte, first bool, end int64) error {
	if first {
		var st state
		if err := json.Unmarshal(text, &st); err != nil || st.Next == 0 {
			return fmt.Errorf("%w: the first frame is no state", ErrDamaged)
		}
		s.next = st.Next
		if st.Open != nil {
			s.open = st.Open
		}
		return nil
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil || r.N != s.next {
		return fmt.Errorf("%w: got record %d, want %d", ErrDamaged, r.N, s.next)
	}
	s.took(r, end)
	return nil
}

// frame opens the frame at the front of data.
func (s *Spool) frame(data []byte, first bool) (text []byte, size int64, whole bool) {
	if len(data) < 4 {
		return nil, 0, false
	}
	n := int(binary.BigEndian.Uint32(data))
	if n < s.aead.NonceSize() || n > maxState || n > len(data)-4 {
		return nil, 0, false
	}
	body := data[4 : 4+n]
	nonce := s.aead.NonceSize()
	text, err := s.aead.Open(nil, body[:nonce], body[nonce:], s.bound(first))
	if err != nil {
		return nil, 0, false
	}
	s.prev = sha256.Sum256(data[:4+n])
	return text, int64(4 + n), true
}

// maxState bounds a frame; a state holds the open sessions.
const maxState = 1 << 20

// bound is what a frame is sealed with: its place.
func (s *Spool) bound(first bool) []byte {
	number := s.next
	if first {
		number = 0
	}
	aad := append([]byte(nil), s.epoch[:]...)
	aad = binary.BigEndian.AppendUint64(aad, number)
	return append(aad, s.prev[:]...)
}

func (s *Spool) seal(text []byte, first bool) []byte {
	frame := make([]byte, 4+s.aead.NonceSize(), 4+s.aead.NonceSize()+len(text)+s.aead.Overhead())
	rand.Read(frame[4:])
	frame = s.aead.Seal(frame, frame[4:], text, s.bound(first))
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return frame
}

// took notes a record that is in the file.
func (s *Spool) took(r Record, end int64) {
	s.next = r.N + 1
	s.kept = append(s.kept, kept{r, end})
	if r.Begins != "" {
		s.open[r.Begins] = Record{Begins: r.Begins, Note: r.Note}
	}
	delete(s.open, r.Ends)
}

// reopen opens the file for appending, cut to what is whole.
func (s *Spool) reopen(size int64) error {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return fmt.Errorf("open spool: %w", err)
	}
	s.close()
	s.file, s.size, s.bad = f, size, nil
	return nil
}

func (s *Spool) close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

// Epoch names this spool: numbers begin again with a new one.
func (s *Spool) Epoch() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return hex.EncodeToString(s.epoch[:])
}

package partial

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/durable"
	"clinicgate/syncd/vault"
)

const (
	// frameSize is the piece that is sealed at once.
	frameSize = 256 << 10
	// syncEvery bounds what a stop in a long Append costs.
	syncEvery = 4 << 20
)

// upload is what is known of one in memory.
type upload struct {
	id   string
	head head
	done *done

	busy    sync.Mutex // held while its file is written or read through
	unread  bool       // the file has not been read through in this life
	offset  int64      // bytes on disk
	number  uint64     // of the next frame
	end     int64      // of the last whole frame
	touched time.Time
}

// head is frame 0.
type head struct {
	Owner string            `json:"owner"`
	Total int64             `json:"total"`
	Meta  map[string]string `json:"meta,omitempty"`
}

// done is what stays of a finished upload.
type done struct {
	Head    head    `json:"head"`
	Outcome Outcome `json:"outcome"`
}

// A frame is its sealed length in 4 bytes, then the sealed piece.
func (s *Store) seal(b []byte, id string, number uint64, piece []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(piece)+vault.Overhead))
	return s.domain.Seal(b, piece, frameIdentity(id, number))
}

func frameIdentity(id string, number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(id+" frame "), number)
}

// frame reads one; io.EOF means that there is none.
func (s *Store) frame(r io.Reader, id string, number uint64) (piece []byte, size int64, err error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, 0, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n < vault.Overhead || n > frameSize+vault.Overhead {
		return nil, 0, vault.ErrSealed
	}
	sealed := make([]byte, n)
	if _, err := io.ReadFull(r, sealed); err != nil {
		return nil, 0, err
	}
	piece, err = s.domain.Open(nil, sealed, frameIdentity(id, number))
	return piece, int64(4 + n), err
}

func (s *Store) part(u *upload) string { return filepath.Join(s.dir, u.id+".part") }

// begin writes the file with its first frame.
func (s *Store) begin(u *upload) error {
	text, err := json.Marshal(u.head)
	if err != nil {
		return err
	}
	if len(text) > frameSize {
		return fmt.Errorf("description of %d bytes, want at most %d", len(text), frameSize)
	}
	b := s.seal(nil, u.id, 0, text)
	if err := durable.WriteFile(s.part(u), b, 0o600); err != nil {
		return err
	}
	u.number, u.end = 1, int64(len(b))
	return nil
}

// recover reads a file through after a start. Whole frames count, and are made
// durable before they are told: their writer may not have come to it. The caller
// holds u.busy.
func (s *Store) recover(u *upload) error {
	f, err := os.OpenFile(s.part(u), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("partial uploads: %w", err)
	}
	defer f.Close()
	u.offset, u.number, u.end = 0, 0, 0
	in := bufio.NewReaderSize(f, 64<<10)
	for {
		piece, n, err := s.frame(in, u.id, u.number)
		if err != nil || u.number > 0 && u.offset+int64(len(piece)) > u.head.Total {
			break // torn; what is behind it was never told
		}
		if u.number > 0 {
			u.offset += int64(len(piece))
		}
		u.number++
		u.end += n
	}
	if u.number == 0 {
		return fmt.Errorf("partial uploads: %w", vault.ErrSealed)
	}
	if err := f.Truncate(u.end); err != nil {
		return fmt.Errorf("partial uploads: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("partial uploads: %w", err)
	}
	u.unread = false
	return nil
}

// Append adds what r gives to the upload, which must stand at offset at, and
// returns the new offset. When r breaks off, what came before counts; its error
// comes with the offset.
func (s *Store) Append(owner, id string, at int64, r io.Reader, now time.Time) (int64, error) {
	u, err := s.claim(owner, id)
	if err != nil {
		return 0, err
	}
	defer u.busy.Unlock()
	if at != u.offset {
		return u.offset, fmt.Errorf("%w: got %d, want %d", ErrOffset, at, u.offset)
	}
	w := &writer{s: s, u: u, offset: u.offset, number: u.number, end: u.end, now: now}
	return w.copy(r)
}

// claim makes the caller the only one who uses the upload, and makes sure that its
// offset is on disk. The caller unlocks busy.
func (s *Store) claim(owner, id string) (*upload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.all[id]
	if u == nil || u.head.Owner != owner || u.done != nil {
		return nil, ErrUnknown
	}
	if !u.busy.TryLock() {
		return nil, ErrBusy
	}
	if u.unread {
		if err := s.recover(u); err != nil {
			u.busy.Unlock()
			return nil, err
		}
	}
	return u, nil
}

// writer is one Append: how far it wrote, which counts once it is synced.
type writer struct {
	s      *Store
	u      *upload
	f      *os.File
	offset int64
	number uint64
	end    int64
	now    time.Time
}

func (w *writer) copy(r io.Reader) (int64, error) {
	f, err := os.OpenFile(w.s.part(w.u), os.O_RDWR, 0)
	if err != nil {
		return w.told(), full(err)
	}
	defer f.Close()
	w.f = f
	buf, sealed := make([]byte, frameSize), []byte(nil)
	for {
		n, rerr := io.ReadFull(r, buf)
		if w.offset+int64(n) > w.u.head.Total {
			return w.undo(fmt.Errorf("%w: %d bytes", ErrLong, w.u.head.Total))
		}
		if n > 0 {
			sealed = w.s.seal(sealed[:0], w.u.id, w.number, buf[:n])
			if _, err := f.WriteAt(sealed, w.end); err != nil {
				return w.undo(full(err))
			}
			w.offset, w.number, w.end = w.offset+int64(n), w.number+1, w.end+int64(len(sealed))
		}
		if rerr != nil || w.offset-w.told() >= syncEvery {
			if err := w.sync(); err != nil {
				return w.told(), err
			}
		}
		if errors.Is(rerr, io.EOF) || errors.Is(rerr, io.ErrUnexpectedEOF) {
			return w.told(), nil
		}
		if rerr != nil {
			return w.told(), rerr
		}
	}
}

func (w *writer) told() int64 {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.u.offset
}

// sync makes what was written count. After a failure nothing is known of the file
// any more: it is read through before it is used again.
func (w *writer) sync() error {
	if err := unix.Fdatasync(int(w.f.Fd())); err != nil {
		w.s.mu.Lock()
		defer w.s.mu.Unlock()
		w.u.unread = true
		return full(err)
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.u.offset, w.u.number, w.u.end, w.u.touched = w.offset, w.number, w.end, w.now
	return nil
}

// undo gives back what was written and does not count.
func (w *writer) undo(why error) (int64, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if err := w.f.Truncate(w.u.end); err != nil {
		w.u.unread = true
	}
	return w.u.offset, why
}

// Body reads a whole upload from its beginning. Its end is told only after Total
// bytes. Nothing else may use the upload until it is closed.
func (s *Store) Body(owner, id string) (io.ReadCloser, error) {
	u, err := s.claim(owner, id)
	if err != nil {
		return nil, err
	}
	if u.offset != u.head.Total {
		u.busy.Unlock()
		return nil, fmt.Errorf("%w: %d of %d bytes", ErrOffset, u.offset, u.head.Total)
	}
	f, err := os.Open(s.part(u))
	if err != nil {
		u.busy.Unlock()
		return nil, fmt.Errorf("partial uploads: %w", err)
	}
	return &body{s: s, u: u, f: f, in: bufio.NewReaderSize(f, 64<<10)}, nil
}

// body reads frames.
type body struct {
	s      *Store
	u      *upload
	f      *os.File
	in     *bufio.Reader
	number uint64
	piece  []byte
	got    int64
}

func (b *body) Read(p []byte) (int, error) {
	for len(b.piece) == 0 {
		if b.got == b.u.head.Total && b.number > 0 {
			return 0, io.EOF
		}
		piece, _, err := b.s.frame(b.in, b.u.id, b.number)
		if err != nil {
			return 0, fmt.Errorf("read upload, frame %d: %w", b.number, errors.Join(vault.ErrSealed, err))
		}
		if b.number++; b.number == 1 {
			continue // the head
		}
		b.piece = piece
		b.got += int64(len(piece))
	}
	n := copy(p, b.piece)
	b.piece = b.piece[n:]
	return n, nil
}

// Close lets others use the upload.
func (b *body) Close() error {
	err := b.f.Close()
	b.u.busy.Unlock()
	return err
}

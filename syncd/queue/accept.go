package queue

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
	"unicode/utf8"

	"clinicgate/syncd/segment"
)

// Accept takes an item in and returns its receipt once it is durable. The same
// Key with the same body gives the same receipt again, whatever has become of the
// item; with another body, a *Conflict. After any error nothing of the item is
// kept. The body is read to its end, or until an error.
//
//	chunks appended   stop here: no item; the chunks are of no use and their room
//	                  comes free with their segments
//	item appended     stop here: the item is there; the sender, who heard nothing,
//	                  sends again and gets the receipt
func (q *Queue) Accept(ctx context.Context, it Item, body io.Reader) (Receipt, error) {
	it.Accepted, it.Key = time.Time{}, legible(it.Key)
	if err := it.check(); err != nil {
		return Receipt{}, err
	}
	in := &intake{q: q, id: q.blind("key", it.Key), origin: it.Origin, sum: sha256.New(), body: contextReader{ctx, body}}
	release, err := q.claim(ctx, in.id)
	if err != nil {
		return Receipt{}, fmt.Errorf("accept: %w", err)
	}
	defer release()
	return in.accept(it)
}

// legible is a key that is written and read back the same. What isn't UTF-8 is
// written in hex: MLLP and DICOM carry other character sets.
func legible(key string) string {
	if utf8.ValidString(key) {
		return key
	}
	return fmt.Sprintf("hex:%x", key)
}

// accept takes the item in, or finds that it is here. The caller has the claim.
func (in *intake) accept(it Item) (Receipt, error) {
	if e, ok := in.q.known(in.id); ok {
		return in.repeat(it, e)
	}
	rand.Read(in.attempt[:])
	defer in.letGo()
	e, err := in.take(it)
	in.q.settle(it.Origin, in.reserved, err == nil)
	switch {
	case errors.Is(err, ErrShare):
		return Receipt{}, err
	case errors.Is(err, segment.ErrFull):
		return Receipt{}, fmt.Errorf("%w: %w", ErrFull, err)
	case err != nil:
		return Receipt{}, fmt.Errorf("accept: %w", err)
	}
	return e.receipt(), nil
}

// claim makes sure that one Accept at a time handles an identity.
func (q *Queue) claim(ctx context.Context, id ID) (release func(), err error) {
	for {
		q.mu.Lock()
		other := q.claims[id]
		if other == nil {
			mine := make(chan struct{})
			q.claims[id] = mine
			q.mu.Unlock()
			return func() {
				q.mu.Lock()
				delete(q.claims, id)
				q.mu.Unlock()
				close(mine)
			}, nil
		}
		q.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *Queue) known(id ID) (Brief, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[id]
	if e == nil {
		return Brief{}, false
	}
	return e.Brief, true
}

func (b Brief) receipt() Receipt {
	return Receipt{ID: b.ID, Digest: b.Digest, Size: b.Size, Accepted: b.Accepted}
}

// intake is one Accept in progress.
type intake struct {
	q       *Queue
	id      ID
	attempt attempt
	body    io.Reader
	sum     hash.Hash
	size    int64

	copied   bool // by the other box, which gave the receipt: it counts in nobody's share, and waits unannounced
	origin   string
	reserved int64         // of the origin's share
	chunks   []segment.Ref // appended and pinned
}

// next fills buf, a chunk long. The last piece is shorter, perhaps empty.
func (in *intake) next(buf []byte) ([]byte, error) {
	n, err := io.ReadFull(in.body, buf)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	in.sum.Write(buf[:n])
	in.size += int64(n)
	return buf[:n], err
}

// buffer is a chunk to read a body into; one byte more than the body, if its size was
// said and is less. A chunk is a mebibyte: making one for each upload costs more than
// sealing it.
func (q *Queue) buffer(size int64) []byte {
	if size > 0 && size < int64(q.chunk) {
		return make([]byte, size+1)
	}
	if buf, ok := q.buffers.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, q.chunk)
}

// giveBack takes a buffer that nobody reads any more.
func (q *Queue) giveBack(buf []byte) {
	if len(buf) == q.chunk {
		q.buffers.Put(&buf)
	}
}

// room takes a piece's room out of the origin's share.
func (in *intake) room(piece []byte) error {
	if in.copied {
		return nil
	}
	err := in.q.reserve(in.origin, len(piece))
	if err == nil {
		in.reserved += int64(len(piece))
	}
	return err
}

// finish checks the body against its description and completes that.
func (in *intake) finish(it *Item) error {
	digest := Digest(in.sum.Sum(nil))
	if it.Digest != (Digest{}) && it.Digest != digest {
		return fmt.Errorf("%w: got digest %.12s, want %.12s", ErrDigest, digest.String(), it.Digest.String())
	}
	if it.Size != 0 && it.Size != in.size || in.size == 0 {
		return fmt.Errorf("%w: got %d bytes, want %d", ErrDigest, in.size, it.Size)
	}
	it.Digest, it.Size = digest, in.size
	return nil
}

// repeat handles an identity that is known.
func (in *intake) repeat(it Item, have Brief) (Receipt, error) {
	buf := in.q.buffer(it.Size)
	defer in.q.giveBack(buf)
	for {
		piece, err := in.next(buf)
		if err != nil {
			return Receipt{}, fmt.Errorf("accept: %w", err)
		}
		if len(piece) < len(buf) {
			break
		}
	}
	if err := in.finish(&it); err != nil {
		return Receipt{}, err
	}
	if it.Digest != have.Digest {
		return Receipt{}, &Conflict{ID: have.ID, Have: have.Digest, Sent: it.Digest}
	}
	return have.receipt(), nil
}

// take makes a new item durable: in one record if its body is small, else chunk
// by chunk as it comes, and its record last.
func (in *intake) take(it Item) (*entry, error) {
	buf := in.q.buffer(it.Size)
	defer in.q.giveBack(buf)
	piece, err := in.next(buf)
	for err == nil && len(piece) == len(buf) {
		if err = in.chunk(piece); err == nil {
			piece, err = in.next(buf)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := in.finish(&it); err != nil {
		return nil, err
	}
	inline := piece
	if len(in.chunks) > 0 {
		inline = nil
		if len(piece) > 0 {
			if err := in.chunk(piece); err != nil {
				return nil, err
			}
		}
	}
	if err := in.room(inline); err != nil {
		return nil, err
	}
	if it.Accepted.IsZero() {
		it.Accepted = now()
	}
	return in.commit(it, inline)
}

// chunk appends one piece and pins it: from here on its segment stays.
func (in *intake) chunk(piece []byte) error {
	if err := in.room(piece); err != nil {
		return err
	}
	record := sealChunk(in.q.domain, in.id, in.attempt, len(in.chunks), piece)
	in.q.keep.RLock()
	defer in.q.keep.RUnlock()
	ref, err := in.q.log.Append(record)
	if err != nil {
		return err
	}
	in.chunks = append(in.chunks, ref)
	in.q.mu.Lock()
	defer in.q.mu.Unlock()
	in.q.pins[ref.Segment()]++
	return nil
}

// letGo gives up the pins of chunks: their item has its own, or never came.
func (in *intake) letGo() {
	in.q.mu.Lock()
	defer in.q.mu.Unlock()
	for _, ref := range in.chunks {
		in.q.pins[ref.Segment()]--
	}
}

// commit appends the item's record, which makes it an item.
func (in *intake) commit(it Item, inline []byte) (*entry, error) {
	h := headOf(it)
	h.Tried = in.copied
	for _, ref := range in.chunks {
		h.Chunks, _ = ref.AppendBinary(h.Chunks)
	}
	record, err := sealItem(in.q.domain, in.id, in.attempt, h, inline)
	if err != nil {
		return nil, err
	}
	in.q.keep.RLock()
	defer in.q.keep.RUnlock()
	ref, err := in.q.log.Append(record)
	if err != nil {
		return nil, err
	}
	e := in.q.newEntry(in.id, in.attempt, h, ref)
	in.q.mu.Lock()
	defer in.q.mu.Unlock()
	in.q.put(e)
	if !in.copied {
		in.q.announce(e)
		in.q.tell(in.id, true)
	}
	return e, nil
}

// contextReader ends reading when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Body returns the body of an item, piece by piece as it is read. Its end is
// reported only if the whole was what was accepted.
func (q *Queue) Body(id ID) (io.ReadCloser, error) {
	q.mu.Lock()
	e := q.entries[id]
	var ref segment.Ref
	if e != nil {
		ref = e.ref
	}
	q.mu.Unlock()
	if e == nil {
		return nil, fmt.Errorf("body of item %v: %w", id, ErrUnknown)
	}
	record, err := q.log.Read(ref)
	if err != nil {
		return nil, fmt.Errorf("body of item %v: %w", id, err)
	}
	_, a, h, sealed, err := openItem(q.domain, record)
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	b := &bodyReader{q: q, id: id, attempt: a, chunks: h.chunks(), digest: Digest(h.Digest), sum: sha256.New()}
	if len(b.chunks) == 0 {
		text, err := q.domain.Open(nil, sealed, itemIdentity(id, a, 'b'))
		if err != nil {
			return nil, fmt.Errorf("body of item %v: %w", id, err)
		}
		b.piece.Reset(text)
		b.sum.Write(text)
	}
	return io.NopCloser(b), nil
}

// bodyReader opens one chunk at a time.
type bodyReader struct {
	q       *Queue
	id      ID
	attempt attempt
	chunks  []segment.Ref
	number  int
	piece   bytes.Reader
	sum     hash.Hash
	digest  Digest
}

func (b *bodyReader) Read(p []byte) (int, error) {
	for b.piece.Len() == 0 {
		if b.number == len(b.chunks) {
			if got := Digest(b.sum.Sum(nil)); got != b.digest {
				return 0, fmt.Errorf("body of item %v: got digest %.12s, want %.12s", b.id, got.String(), b.digest.String())
			}
			return 0, io.EOF
		}
		record, err := b.q.log.Read(b.chunks[b.number])
		if err != nil {
			return 0, fmt.Errorf("body of item %v: %w", b.id, err)
		}
		text, err := openChunk(b.q.domain, record, b.id, b.attempt, b.number)
		if err != nil {
			return 0, fmt.Errorf("body of item %v, chunk %d: %w", b.id, b.number, err)
		}
		b.number++
		b.sum.Write(text)
		b.piece.Reset(text)
	}
	return b.piece.Read(p)
}

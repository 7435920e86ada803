package queue

import (
	"context"
	"errors"
	"fmt"
	"io"

	"clinicgate/syncd/segment"
)

// Report is what Verify found.
type Report struct {
	Items    map[State]int
	Bytes    int64    // of the bodies read
	Segments int      // live in the log
	Problems []string // what contradicts the invariant; none is how it must be
}

// Invariant is what Verify checks, in one sentence for people.
const Invariant = "every accepted item is there once, in one state, and its body is what was accepted"

// Verify reads everything, the whole log and each body, and says what contradicts
// the invariant. The queue stays in use meanwhile.
func (q *Queue) Verify(ctx context.Context) (Report, error) {
	r := Report{Items: map[State]int{}, Segments: len(q.log.Segments())}
	problem := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	err := q.log.Scan(func(ref segment.Ref, record []byte) error {
		if err := q.verifyRecord(record); err != nil {
			problem("record at %v: %v", ref, err)
		}
		return ctx.Err()
	})
	switch {
	case errors.Is(err, segment.ErrDamaged):
		problem("%v", err)
	case err != nil:
		return r, fmt.Errorf("verify queue: %w", err)
	}
	for s := Waiting; s <= Held; s++ {
		for _, b := range q.List(s) {
			r.Items[s]++
			n, err := q.verifyBody(ctx, b.ID)
			if ctx.Err() != nil {
				return r, fmt.Errorf("verify queue: %w", ctx.Err())
			}
			switch _, still := q.known(b.ID); {
			case err == nil && n == b.Size:
				r.Bytes += n
			case !still: // forgotten meanwhile, as it should be
			case err == nil:
				problem("item %v: body of %d bytes, want %d", b.ID, n, b.Size)
			default:
				problem("item %v: %v", b.ID, err)
			}
		}
	}
	return r, nil
}

// verifyRecord opens a record for what it says it is. Chunks open with their item.
func (q *Queue) verifyRecord(record []byte) error {
	if len(record) == 0 {
		return errors.New("empty")
	}
	switch record[0] {
	case chunkRecord:
		return nil
	case itemRecord:
		_, _, _, _, err := openItem(q.domain, record)
		return err
	case markRecord:
		_, _, _, err := openMark(q.domain, record)
		return err
	case totalRecord:
		_, err := openTotals(q.domain, record)
		return err
	}
	return fmt.Errorf("of unknown type %q", record[0])
}

func (q *Queue) verifyBody(ctx context.Context, id ID) (int64, error) {
	body, err := q.Body(id)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	return io.Copy(io.Discard, contextReader{ctx, body})
}

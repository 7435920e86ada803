package console

import (
	"context"
	"io"
)

// keyboard hands what is typed to one reader after the other. A read that waits
// can't be taken back, so one goroutine reads for all of them.
type keyboard struct {
	pieces chan []byte
	err    error // why pieces was closed
}

// pump reads until in ends. Nothing is read ahead of who takes it.
func (k *keyboard) pump(ctx context.Context, in io.Reader) {
	defer close(k.pieces)
	for {
		buf := make([]byte, 1024)
		n, err := in.Read(buf)
		if n > 0 {
			select {
			case k.pieces <- buf[:n]:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			k.err = err
			return
		}
	}
}

// until returns a reader that ends with ctx.
func (k *keyboard) until(ctx context.Context) io.Reader { return &taker{ctx: ctx, k: k} }

type taker struct {
	ctx  context.Context
	k    *keyboard
	rest []byte
}

// Read returns what is left of a piece before it waits for the next.
func (r *taker) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		select {
		case piece, ok := <-r.k.pieces:
			if !ok {
				if r.k.err == nil {
					return 0, io.EOF
				}
				return 0, r.k.err
			}
			r.rest = piece
		case <-r.ctx.Done():
			return 0, io.EOF
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

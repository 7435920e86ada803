package mirror

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"clinicgate/firmware/twin"
	"clinicgate/syncd/mirror/census"
	"clinicgate/syncd/queue"
)

// Times of a session.
const (
	handshake = 3 * time.Second
	beat      = 500 * time.Millisecond // between signs of life
	silent    = 3 * time.Second        // without an answer to one the session is over
	again     = 300 * time.Millisecond // between attempts to reach the other box
	answering = 30 * time.Second       // to count: it reads no disk
	pause     = 50 * time.Millisecond  // before an item that is just changing there is told again
)

// tellers tell what somebody may wait for, and bulk of them what a join found.
const (
	tellers = 8
	bulk    = 2
)

// Errors of telling that are no fault of the session.
var (
	errBusy    = errors.New("the item is being changed or sent there")
	errUnknown = errors.New("the item is not there")
	errOwn     = errors.New("the item can't be read here")
	errRefused = errors.New("the other box doesn't take the item as it is")
)

// newClient speaks to the other box alone, whatever address a request names.
func (m *Mirror) newClient() *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, handshake)
		defer cancel()
		// From the address that the other box expects us at.
		from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(m.cfg.Listen.Addr(), 0))
		d := net.Dialer{LocalAddr: from, Control: twin.OnPort(m.cfg.Port)}
		raw, err := d.DialContext(ctx, "tcp", m.cfg.Peer.String())
		if err != nil {
			return nil, err
		}
		conn := tls.Client(raw, m.terms)
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		return conn, nil
	}
	return &http.Client{Transport: &http.Transport{
		DialTLSContext: dial, MaxIdleConnsPerHost: tellers + bulk + 1, IdleConnTimeout: time.Minute,
		DisableCompression: true, WriteBufferSize: 64 << 10,
	}}
}

// tell keeps telling the other box, in one session after the other.
func (m *Mirror) tell(ctx context.Context) error {
	for ctx.Err() == nil {
		err := m.session(ctx)
		m.client.CloseIdleConnections()
		if ctx.Err() != nil {
			return nil
		}
		m.fall(err)
		select {
		case <-ctx.Done():
		case <-time.After(m.rest()):
		}
	}
	return nil
}

// rest is the wait before the next session: longer when the boxes had met, for what
// ended that session may be there still.
func (m *Mirror) rest() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.since) < 10*again { // it fell just now
		return 3 * again
	}
	return again
}

// session joins and then tells until something fails. It returns why it ended.
func (m *Mirror) session(ctx context.Context) error {
	ctx, drop := context.WithCancelCause(ctx)
	defer drop(nil)
	if err := m.pulse(ctx); err != nil {
		return err
	}
	lacks, stamp, err := m.count(ctx)
	if err != nil {
		return err
	}
	m.rise(drop, lacks, stamp)
	var wg sync.WaitGroup
	for i := range tellers + bulk {
		wg.Go(func() { m.work(ctx, drop, i < bulk) })
	}
	wg.Go(func() { m.beats(ctx, drop) })
	wg.Wait()
	return context.Cause(ctx)
}

// beats ends the session when the other box is silent.
func (m *Mirror) beats(ctx context.Context, drop context.CancelCauseFunc) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := m.pulse(ctx)
		if err == nil && m.stuck() {
			err = errors.New("the other box takes nothing any more")
		}
		if err != nil {
			drop(err)
			return
		}
	}
}

// stuck reports that something is being told, and nothing is taken.
func (m *Mirror) stuck() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.moved) > stalled && m.debts.busy()
}

// A vital is a sign of life.
type vital struct {
	V      int    `json:"v"`
	Run    string `json:"run"`
	Flight int    `json:"flight"` // attempts to deliver that are under way
}

// version of what the boxes say to each other.
const version = 1

// pulse asks whether the other box is there, and another one that speaks alike.
func (m *Mirror) pulse(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, silent)
	defer cancel()
	answer, err := m.post(ctx, "/pulse", nil, 0)
	if err != nil {
		return err
	}
	var v vital
	if err := json.Unmarshal(answer, &v); err != nil {
		return fmt.Errorf("sign of life: %w", err)
	}
	switch {
	case v.Run == m.run:
		return errors.New("the address of the other box leads back to this one")
	case v.V != version:
		return fmt.Errorf("the other box speaks version %d, this one %d", v.V, version)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.other = census.Other{Alive: true, Flight: v.Flight}
	m.flights.hear(v.Flight, time.Now())
	return nil
}

// count compares what both boxes know. What changes here meanwhile has a number
// behind stamp, and is told besides.
func (m *Mirror) count(ctx context.Context) (lacks []lack, stamp uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, answering)
	defer cancel()
	m.mu.Lock()
	stamp = m.debts.seq
	m.mu.Unlock()
	known := m.queue.Known()
	rows := rowsOf(known)
	digest := census.Count(rows)
	ask := digest.Append(nil)
	answer, err := m.post(ctx, "/census", bytes.NewReader(ask), int64(len(ask)))
	if err != nil {
		return nil, 0, err
	}
	list, err := census.ReadList(answer)
	if err != nil {
		return nil, 0, err
	}
	// What waits comes first, oldest first; what was delivered is there in the end.
	slices.SortFunc(known, func(a, b queue.Known) int {
		if d := a.Standing.State == queue.Delivered; d != (b.Standing.State == queue.Delivered) {
			if d {
				return 1
			}
			return -1
		}
		return a.Accepted.Compare(b.Accepted)
	})
	whole := map[census.Name]bool{}
	for _, l := range census.Lacks(list.Which, rows, list.Rows) {
		whole[l.Name] = l.Whole
	}
	for _, k := range known {
		if w, ok := whole[census.Name(k.Name)]; ok {
			lacks = append(lacks, lack{k.ID, w})
		}
	}
	return lacks, stamp, nil
}

func rowsOf(known []queue.Known) []census.Row {
	rows := make([]census.Row, len(known))
	for i, k := range known {
		rows[i] = census.Row{Name: census.Name(k.Name), Rank: k.Standing.Rank()}
	}
	return rows
}

// work pays debts, one after the other; old says whether those of a join, too.
func (m *Mirror) work(ctx context.Context, drop context.CancelCauseFunc, old bool) {
	for ctx.Err() == nil {
		m.mu.Lock()
		id, d, ok := m.debts.next(old)
		changed := m.changed
		m.mu.Unlock()
		if !ok {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		err := m.pay(ctx, id, d.whole)
		switch {
		case errors.Is(err, errBusy):
			time.Sleep(pause)
			m.mu.Lock()
			m.debts.again(id)
			m.mu.Unlock()
			continue
		case errors.Is(err, errOwn), errors.Is(err, errRefused): // one item must not hold up the others
			m.log.Error("an upload can't be mirrored", "item", id, "err", err)
			m.mu.Lock()
			m.alone++
			m.mu.Unlock()
		case err != nil:
			drop(err)
			return
		}
		m.mu.Lock()
		if ctx.Err() == nil { // else the debts are another session's
			m.debts.pay(id, d.seq)
			m.told, m.moved, m.lag = m.told+1, time.Now(), time.Since(d.since)
		}
		m.mu.Unlock()
	}
}

// pay tells one item as it is now.
func (m *Mirror) pay(ctx context.Context, id queue.ID, whole bool) error {
	c, err := m.queue.Copy(id)
	if errors.Is(err, queue.ErrUnknown) {
		return nil // delivered and forgotten meanwhile
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errOwn, err)
	}
	head, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("%w: %w", errOwn, err)
	}
	if !whole {
		_, err := m.post(ctx, "/mark", bytes.NewReader(head), int64(len(head)))
		if !errors.Is(err, errUnknown) {
			return err
		}
	}
	body, err := m.queue.Body(id)
	if errors.Is(err, queue.ErrUnknown) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errOwn, err)
	}
	defer body.Close()
	front := append(binary.BigEndian.AppendUint32(nil, uint32(len(head))), head...)
	from := &counted{m: m, r: io.MultiReader(bytes.NewReader(front), body)}
	_, err = m.post(ctx, "/item", from, int64(len(front))+c.Item.Size)
	if own := from.failed(); own != nil {
		return fmt.Errorf("%w: %w", errOwn, own)
	}
	return err
}

// counted notes that the other box takes something, and whose fault an end is.
type counted struct {
	m *Mirror
	r io.Reader

	mu  sync.Mutex
	err error
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
	}
	c.m.mu.Lock()
	c.m.moved = time.Now()
	c.m.mu.Unlock()
	return n, err
}

func (c *counted) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// maxAnswer bounds what the other box may say; a list is the longest.
const maxAnswer = 128 << 20

func (m *Mirror) post(ctx context.Context, path string, body io.Reader, size int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://pair"+path, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return answer, nil
	case http.StatusConflict:
		return nil, errBusy
	case http.StatusNotFound:
		return nil, errUnknown
	case http.StatusBadRequest:
		return nil, fmt.Errorf("%w: %.200s", errRefused, answer)
	}
	return nil, fmt.Errorf("the other box answers %s: %.200s", resp.Status, answer)
}

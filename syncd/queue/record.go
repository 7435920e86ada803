package queue

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"clinicgate/syncd/lane"
	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

// Records of the log. In front stands what a record is and of which item; what is
// sealed is bound to that front, so that no record passes for another.
//
//	chunk  'C' id[16] attempt[8] number[4] sealed piece of the body
//	item   'I' id[16] attempt[8] length[4] sealed head, sealed body or its absence
//	mark   'S' id[16] attempt[8] sealed change of state
//	totals 'T' sealed counters of delivered items by lane
//
// The attempt is drawn for each Accept: pieces of one that broke off never mix
// with those of the next, and marks of an item that was delivered and forgotten
// don't stick to the same item accepted anew.
const (
	chunkRecord = 'C'
	itemRecord  = 'I'
	markRecord  = 'S'
	totalRecord = 'T'

	chunkFront = 1 + 16 + 8 + 4
	itemFront  = 1 + 16 + 8 + 4
	markFront  = 1 + 16 + 8
)

// chunkSize is the piece of a body that is sealed and sent at once. A body up to
// this size lies in its item's record: one append accepts it.
const chunkSize = 1 << 20

// head is the sealed description of an item.
type head struct {
	Key      string            `json:"key"`
	Lane     lane.Lane         `json:"lane"`
	Kind     string            `json:"kind"`
	Origin   string            `json:"origin"`
	Order    string            `json:"order,omitempty"`
	Digest   []byte            `json:"digest"`
	Size     int64             `json:"size"`
	Accepted time.Time         `json:"accepted"`
	Meta     map[string]string `json:"meta,omitempty"`
	Held     string            `json:"held,omitempty"`
	Tried    bool              `json:"tried,omitempty"`  // it came from the other box, which may have sent it
	Chunks   []byte            `json:"chunks,omitempty"` // places, one after the other; none: the body is in the record
}

// mark is a sealed change of state.
type mark struct {
	State State     `json:"state"`
	At    time.Time `json:"at"`
	// Where is the destination of Delivering and Delivered.
	Where string `json:"where,omitempty"`
	// Why is the reason of Held, and the proof of Delivered.
	Why string `json:"why,omitempty"`
	// Released says who let the item go on after it was held; it stays from then on.
	Released string `json:"released,omitempty"`
	// Rev counts the decisions about the item, each Hold and Release; see Standing.
	Rev uint32 `json:"rev,omitempty"`
	// Total of items delivered in Lane, with this one: a counter that outlives
	// the items it counted.
	Lane  lane.Lane `json:"lane,omitempty"`
	Total uint64    `json:"total,omitempty"`
}

type attempt [8]byte

func sealTotals(d *vault.Domain, totals map[lane.Lane]uint64) ([]byte, error) {
	text, err := json.Marshal(totals)
	if err != nil {
		return nil, fmt.Errorf("seal totals: %w", err)
	}
	return d.Seal([]byte{totalRecord}, text, []byte{totalRecord}), nil
}

func openTotals(d *vault.Domain, record []byte) (totals map[lane.Lane]uint64, err error) {
	text, err := d.Open(nil, record[1:], []byte{totalRecord})
	if err == nil {
		err = json.Unmarshal(text, &totals)
	}
	if err != nil {
		return nil, fmt.Errorf("totals: %w", err)
	}
	return totals, nil
}

// chunkIdentity is the front of a chunk, and what its sealing is bound to.
func chunkIdentity(id ID, a attempt, number int) []byte {
	b := append([]byte{chunkRecord}, id[:]...)
	b = append(b, a[:]...)
	return binary.BigEndian.AppendUint32(b, uint32(number))
}

func sealChunk(d *vault.Domain, id ID, a attempt, number int, piece []byte) []byte {
	front := chunkIdentity(id, a, number)
	return d.Seal(front, piece, front[:chunkFront:chunkFront])
}

// openChunk returns a piece of a body, if the record is just that piece.
func openChunk(d *vault.Domain, record []byte, id ID, a attempt, number int) ([]byte, error) {
	if len(record) < chunkFront {
		return nil, fmt.Errorf("chunk record of %d bytes: %w", len(record), vault.ErrSealed)
	}
	return d.Open(nil, record[chunkFront:], chunkIdentity(id, a, number))
}

// itemIdentity binds the parts of an item's record: 'h' for the head, 'b' the body.
func itemIdentity(id ID, a attempt, part byte) []byte {
	b := append([]byte{itemRecord}, id[:]...)
	return append(append(b, a[:]...), part)
}

// sealItem makes the record of an item; body is nil when it lies in chunks.
func sealItem(d *vault.Domain, id ID, a attempt, h head, body []byte) ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("seal item: %w", err)
	}
	b := make([]byte, 0, itemFront+len(text)+len(body)+2*vault.Overhead)
	b = append(append(append(b, itemRecord), id[:]...), a[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)+vault.Overhead))
	b = d.Seal(b, text, itemIdentity(id, a, 'h'))
	if body != nil {
		b = d.Seal(b, body, itemIdentity(id, a, 'b'))
	}
	return b, nil
}

// openItem reads an item's record. body is still sealed, and empty when it lies
// in chunks.
func openItem(d *vault.Domain, record []byte) (id ID, a attempt, h head, body []byte, err error) {
	if len(record) < itemFront || record[0] != itemRecord {
		return id, a, h, nil, fmt.Errorf("item record of %d bytes: %w", len(record), vault.ErrSealed)
	}
	id, a = ID(record[1:17]), attempt(record[17:25])
	n := int(binary.BigEndian.Uint32(record[25:]))
	if rest := record[itemFront:]; n < 0 || n > len(rest) {
		return id, a, h, nil, fmt.Errorf("item %v: head of %d bytes in %d: %w", id, n, len(rest), vault.ErrSealed)
	}
	text, err := d.Open(nil, record[itemFront:itemFront+n], itemIdentity(id, a, 'h'))
	if err != nil {
		return id, a, h, nil, fmt.Errorf("item %v: %w", id, err)
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return id, a, h, nil, fmt.Errorf("item %v: %w", id, err)
	}
	if len(h.Digest) != len(Digest{}) || len(h.Chunks)%segment.RefSize != 0 {
		return id, a, h, nil, fmt.Errorf("item %v: digest of %d bytes, places of %d", id, len(h.Digest), len(h.Chunks))
	}
	return id, a, h, record[itemFront+n:], nil
}

// chunks decodes the places of the pieces.
func (h *head) chunks() []segment.Ref {
	var refs []segment.Ref
	for b := h.Chunks; len(b) >= segment.RefSize; b = b[segment.RefSize:] {
		ref, err := segment.DecodeRef(b)
		if err != nil {
			return nil // can't be: the length was checked
		}
		refs = append(refs, ref)
	}
	return refs
}

func (h *head) item() Item {
	return Item{
		Key: h.Key, Lane: h.Lane, Kind: h.Kind, Origin: h.Origin, Order: h.Order, Digest: Digest(h.Digest),
		Size: h.Size, Accepted: h.Accepted, Meta: h.Meta, Held: h.Held,
	}
}

func headOf(it Item) head {
	return head{
		Key: it.Key, Lane: it.Lane, Kind: it.Kind, Origin: it.Origin, Order: it.Order, Digest: it.Digest[:],
		Size: it.Size, Accepted: it.Accepted, Meta: it.Meta, Held: it.Held,
	}
}

func markIdentity(id ID, a attempt) []byte {
	return append(append([]byte{markRecord}, id[:]...), a[:]...)
}

func sealMark(d *vault.Domain, id ID, a attempt, m mark) ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("seal mark: %w", err)
	}
	front := markIdentity(id, a)
	return d.Seal(front, text, front[:markFront:markFront]), nil
}

func openMark(d *vault.Domain, record []byte) (id ID, a attempt, m mark, err error) {
	if len(record) < markFront || record[0] != markRecord {
		return id, a, m, fmt.Errorf("mark record of %d bytes: %w", len(record), vault.ErrSealed)
	}
	id, a = ID(record[1:17]), attempt(record[17:25])
	text, err := d.Open(nil, record[markFront:], markIdentity(id, a))
	if err != nil {
		return id, a, m, fmt.Errorf("mark of item %v: %w", id, err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return id, a, m, fmt.Errorf("mark of item %v: %w", id, err)
	}
	if m.State < Waiting || m.State > Held {
		return id, a, m, fmt.Errorf("mark of item %v: %v", id, m.State)
	}
	return id, a, m, nil
}

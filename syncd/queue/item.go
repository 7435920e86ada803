// Package queue keeps what the clinic handed over until its destination has it.
// Its one guarantee: once Accept has returned a receipt, the item is delivered or
// held for a person, unchanged, whatever loses power in between; and the same
// item handed over again is the same item.
//
// The segment log is the only truth. Items, their bodies and every change of
// state are sealed records in it. Where they lie is known in memory and read from
// the log at each start, so it can't be wrong; a start takes as long as reading
// the log. A seam for later: an index on disk for logs of many gigabytes.
package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"clinicgate/syncd/lane"
)

// Digest is the SHA-256 of a body.
type Digest [sha256.Size]byte

// String is the digest in hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ID names an item inside this box: a keyed digest of its Key, so that names in
// files and logs say nothing about a patient.
type ID [16]byte

// String is the ID in hex, for logs and people.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// LogValue makes logs show String, not sixteen numbers.
func (id ID) LogValue() slog.Value { return slog.StringValue(id.String()) }

// Item is one accepted upload. It never changes after it was accepted.
type Item struct {
	// Key is the idempotency identity, made from the origin's own name for the
	// content: "dicom:" and a SOP Instance UID, "mqtt:" with client and message
	// id or digest. Required, at most MaxKey bytes.
	Key string
	// Lane is required.
	Lane lane.Lane
	// Kind says what the body is ("dicom", "scp-ecg", "aecg", "pdf"); a
	// destination takes items by kind. Required. A "dicom" body is a whole
	// Part 10 file.
	Kind string
	// Origin is who sent it: AE title or certificate name. Required.
	Origin string
	// Order keeps items in the order they were accepted: those with the same
	// Order (a patient, else a device) leave one after the other. Empty: any.
	Order string
	// Digest of the body. Zero: the queue computes it; else it must match.
	Digest Digest
	// Size of the body in bytes. Zero: the queue counts; else it must match.
	Size int64
	// Accepted is set by the queue.
	Accepted time.Time
	// Meta is what deliverers need to know of the content; the names are below.
	// At most MaxMeta bytes of names and values.
	Meta map[string]string
	// Held, when not empty, is the reason why the item must wait for a person
	// from the start: accepted and kept, but never sent by itself.
	Held string
	// Released is set by the queue: the person who looked at the item when it was
	// held and let it go on. Empty: nobody.
	Released string
}

// Names in Item.Meta.
const (
	MetaContentType    = "content-type"
	MetaFileName       = "file-name"
	MetaPatientID      = "patient-id"
	MetaPatientIssuer  = "patient-id-issuer"
	MetaPatientName    = "patient-name"
	MetaPatientBirth   = "patient-birth-date" // YYYYMMDD
	MetaPatientRef     = "patient-ref"        // "Patient/ID" at the EHR, when known
	MetaAccession      = "accession-number"
	MetaStudyUID       = "study-uid"  // (0020,000D)
	MetaSeriesUID      = "series-uid" // (0020,000E)
	MetaInstanceUID    = "sop-instance-uid"
	MetaClassUID       = "sop-class-uid"
	MetaTransferSyntax = "transfer-syntax-uid"
)

// Bounds of an item's description. The body is bounded by the disk.
const (
	MaxKey  = 512
	MaxMeta = 16 << 10
)

// Receipt is the queue's promise for an accepted item. Handing the same item
// over again gives an equal receipt.
type Receipt struct {
	ID       ID
	Digest   Digest
	Size     int64
	Accepted time.Time
}

// State is where an item is on its way.
type State uint8

// The states. Waiting and Delivering alternate until one of the last two:
//
//	Waiting ⇄ Delivering → Delivered
//	   ⇅         ↓
//	  Held ← ────┘
const (
	Waiting    State = iota + 1 // to be sent when its turn comes
	Delivering                  // an attempt has begun and its outcome is not recorded
	Delivered                   // the destination's receipt was checked
	Held                        // a person must decide; never sent by itself
)

var stateNames = [...]string{Waiting: "waiting", Delivering: "delivering", Delivered: "delivered", Held: "held"}

// String is the state's name.
func (s State) String() string {
	if s < Waiting || s > Held {
		return fmt.Sprintf("state(%d)", uint8(s))
	}
	return stateNames[s]
}

// Errors of Accept that a sender is told about, each in its own protocol's terms.
var (
	// ErrFull: no room; nothing of the item was kept. The sender tries again later.
	ErrFull = errors.New("queue: the disk is full, the item was not accepted")
	// ErrShare is an ErrFull: there is room, but not for this origin, which has its
	// share of it undelivered.
	ErrShare = fmt.Errorf("%w: its sender has its share of the room", ErrFull)
	// ErrDigest: the body is not what the item said; nothing was kept.
	ErrDigest = errors.New("queue: body and description differ")
	// ErrInvalid: the description lacks something; nothing was kept.
	ErrInvalid = errors.New("queue: invalid item")
)

// Conflict is the error for a Key that came before with another body. Nothing
// was kept. A caller whose sender can't understand a refusal hands the item over
// again with Held set and a Key of its own.
type Conflict struct {
	ID         ID     // the item that came first
	Have, Sent Digest // of the first and of the refused body
}

// Error says it without naming the key, which may hold identifiers.
func (c *Conflict) Error() string {
	return fmt.Sprintf("queue: same identity as item %v with other content: got digest %.12s, have %.12s", c.ID, c.Sent.String(), c.Have.String())
}

// check says what a description lacks.
func (it *Item) check() error {
	meta := 0
	for k, v := range it.Meta {
		meta += len(k) + len(v)
	}
	switch {
	case it.Key == "" || len(it.Key) > MaxKey:
		return fmt.Errorf("%w: key of %d bytes, want 1 to %d", ErrInvalid, len(it.Key), MaxKey)
	case it.Lane < lane.Stat || it.Lane > lane.Bulk:
		return fmt.Errorf("%w: %v, want stat, routine or bulk", ErrInvalid, it.Lane)
	case it.Kind == "" || it.Origin == "":
		return fmt.Errorf("%w: kind %q and origin %q, want both", ErrInvalid, it.Kind, it.Origin)
	case len(it.Kind)+len(it.Origin)+len(it.Order)+len(it.Held)+meta > MaxMeta:
		return fmt.Errorf("%w: description over %d bytes", ErrInvalid, MaxMeta)
	case it.Size < 0:
		return fmt.Errorf("%w: size %d", ErrInvalid, it.Size)
	}
	return nil
}

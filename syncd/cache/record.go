package cache

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"clinicgate/syncd/fhir"
)

// A record of the log, as it lies on disk:
//
//	kind (1) ‖ blind name of the key (32) ‖ sealed
//
// The blind name tells nothing without the domain's key. What is sealed is bound to
// it, and names the key itself, so that no record can be given for another. Inside
// the seal:
//
//	length (4) ‖ head, JSON ‖ length (4) ‖ facets, JSON or nothing ‖ body, deflated when head says so
const (
	kindAnswer = 3 // an answer, in place of all earlier ones of its key
	kindDrop   = 4 // nothing is stored any more; no seal
)

const prefixSize = 1 + 32

// deflateFrom is the body size from which deflate is worth its time: searches
// shrink to a tenth, single resources are better answered fast.
const deflateFrom = 32 << 10

var errRecord = errors.New("record is not one of the cache's")

type name [32]byte

// short is as much of a name as the index has. Two keys that share it cost one of
// them its answer; a record says which key's it is.
type short [16]byte

func (n name) short() short { return short(n[:16]) }

// head is what is stored beside a body.
type head struct {
	Key        string    `json:"key"`
	ETag       string    `json:"etag,omitempty"`
	Modified   string    `json:"modified,omitempty"`
	At         time.Time `json:"at"`
	MaxAgeMS   int64     `json:"max_age_ms"` // negative: the EHR did not say
	Revalidate bool      `json:"revalidate,omitempty"`
	Size       int       `json:"size"` // of the body as the EHR sent it
	Deflated   bool      `json:"deflated,omitempty"`
}

// A stored is a record that has been opened.
type stored struct {
	fhir.Answer
	key    string
	facets []byte // JSON
}

// find returns the facets, none if there are none.
func (s stored) find() (f fhir.Facets) {
	_ = json.Unmarshal(s.facets, &f) // what we wrote ourselves
	return f
}

// pack makes the text to seal.
func pack(key string, a fhir.Answer, facets []byte) ([]byte, error) {
	h := head{
		Key: key, ETag: a.ETag, Modified: a.LastModified, At: a.At.UTC(),
		MaxAgeMS: a.Policy.MaxAge.Milliseconds(), Revalidate: a.Policy.Revalidate,
		Size: len(a.Body), Deflated: len(a.Body) >= deflateFrom,
	}
	if a.Policy.MaxAge < 0 {
		h.MaxAgeMS = -1
	}
	js, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(8 + len(js) + len(facets) + min(len(a.Body), deflateFrom))
	for _, part := range [][]byte{js, facets} {
		b.Write(binary.BigEndian.AppendUint32(b.AvailableBuffer(), uint32(len(part))))
		b.Write(part)
	}
	if !h.Deflated {
		b.Write(a.Body)
		return b.Bytes(), nil
	}
	z, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(a.Body); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// part takes a length-prefixed part off the front.
func part(text []byte) (one, rest []byte, err error) {
	if len(text) < 4 || uint64(binary.BigEndian.Uint32(text)) > uint64(len(text)-4) {
		return nil, nil, errRecord
	}
	n := 4 + int(binary.BigEndian.Uint32(text))
	return text[4:n], text[n:], nil
}

// unpack reads it back.
func unpack(text []byte) (stored, error) {
	js, rest, err := part(text)
	if err != nil {
		return stored{}, err
	}
	facets, body, err := part(rest)
	if err != nil {
		return stored{}, err
	}
	var h head
	if err := json.Unmarshal(js, &h); err != nil {
		return stored{}, fmt.Errorf("%w: %w", errRecord, err)
	}
	if h.Deflated {
		if h.Size < 0 || h.Size > maxBody {
			return stored{}, errRecord
		}
		out := make([]byte, h.Size)
		if _, err := io.ReadFull(flate.NewReader(bytes.NewReader(body)), out); err != nil {
			return stored{}, fmt.Errorf("%w: %w", errRecord, err)
		}
		body = out
	}
	if len(body) != h.Size {
		return stored{}, errRecord
	}
	return stored{
		Answer: fhir.Answer{
			Body: body, ETag: h.ETag, LastModified: h.Modified, At: h.At,
			Policy: fhir.Policy{Revalidate: h.Revalidate, MaxAge: time.Duration(h.MaxAgeMS) * time.Millisecond},
		},
		key: h.Key, facets: facets,
	}, nil
}

// prefix reads the front of a record.
func prefix(record []byte) (kind byte, n name, sealed []byte, err error) {
	if len(record) < prefixSize || record[0] != kindAnswer && record[0] != kindDrop {
		return 0, name{}, nil, errRecord
	}
	return record[0], name(record[1:prefixSize]), record[prefixSize:], nil
}

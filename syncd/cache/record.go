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
// The blind name tells nothing without the domain's key, and is enough to rebuild
// the index. What is sealed is bound to the key itself, so that no record can be
// given for another. Inside the seal:
//
//	length of head (4) ‖ head, JSON ‖ body, deflated when head says so
const (
	kindAnswer = 1 // an answer, in place of all earlier ones of its key
	kindDrop   = 2 // nothing is stored any more; no seal
)

const prefixSize = 1 + 32

// deflateFrom is the body size from which deflate is worth its time: searches
// shrink to a tenth, single resources are better answered fast.
const deflateFrom = 32 << 10

var errRecord = errors.New("record is not one of the cache's")

type name [32]byte

// head is what is stored beside a body.
type head struct {
	ETag       string    `json:"etag,omitempty"`
	Modified   string    `json:"modified,omitempty"`
	At         time.Time `json:"at"`
	MaxAgeMS   int64     `json:"max_age_ms"` // negative: the EHR did not say
	Revalidate bool      `json:"revalidate,omitempty"`
	Size       int       `json:"size"` // of the body as the EHR sent it
	Deflated   bool      `json:"deflated,omitempty"`
}

// pack makes the text to seal.
func pack(a fhir.Answer) ([]byte, error) {
	h := head{
		ETag: a.ETag, Modified: a.LastModified, At: a.At.UTC(),
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
	b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(js))))
	b.Write(js)
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

// unpack reads it back.
func unpack(text []byte) (fhir.Answer, error) {
	if len(text) < 4 {
		return fhir.Answer{}, errRecord
	}
	n := binary.BigEndian.Uint32(text)
	if uint64(n) > uint64(len(text)-4) {
		return fhir.Answer{}, errRecord
	}
	var h head
	if err := json.Unmarshal(text[4:4+n], &h); err != nil {
		return fhir.Answer{}, fmt.Errorf("%w: %w", errRecord, err)
	}
	body := text[4+n:]
	if h.Deflated {
		if h.Size < 0 || h.Size > maxBody {
			return fhir.Answer{}, errRecord
		}
		out := make([]byte, h.Size)
		if _, err := io.ReadFull(flate.NewReader(bytes.NewReader(body)), out); err != nil {
			return fhir.Answer{}, fmt.Errorf("%w: %w", errRecord, err)
		}
		body = out
	}
	if len(body) != h.Size {
		return fhir.Answer{}, errRecord
	}
	return fhir.Answer{
		Body: body, ETag: h.ETag, LastModified: h.Modified, At: h.At,
		Policy: fhir.Policy{Revalidate: h.Revalidate, MaxAge: time.Duration(h.MaxAgeMS) * time.Millisecond},
	}, nil
}

// prefix reads the front of a record.
func prefix(record []byte) (kind byte, n name, sealed []byte, err error) {
	if len(record) < prefixSize || record[0] != kindAnswer && record[0] != kindDrop {
		return 0, name{}, nil, errRecord
	}
	return record[0], name(record[1:prefixSize]), record[prefixSize:], nil
}

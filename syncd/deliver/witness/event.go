package witness

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"clinicgate/syncd/trail"
)

// chainSystem and a trail's name are the system of its records' numbers.
const chainSystem = "urn:clinicgate:trail:"

// id is the AuditEvent's of an entry: trail, record, place in it.
func id(chain string, r trail.Record, i int) string {
	return fmt.Sprintf("%s-%d-%d", chain, r.Number, i)
}

// A form is how much of an entry is put into FHIR's own fields.
type form int

const (
	full  form = iota
	plain      // no references: for a server that has not all of what they name
)

// event is an entry as it leaves: a FHIR AuditEvent with its link of the chain.
func event(chain string, r trail.Record, i int, f form) (json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	text := r.Entries[i].AuditEvent()
	if f == plain {
		text, _ = json.Marshal(stripped{ // of strings: it can't fail
			ResourceType: "AuditEvent", Type: coding{"http://terminology.hl7.org/CodeSystem/audit-event-type", "rest"},
			Action: "E", Recorded: r.Entries[i].When.UTC().Format(time.RFC3339Nano), Outcome: "0",
			Agent:  []agent{{Who: named{r.Entries[i].Who}, Requestor: true}},
			Source: source{named{"clinicgate syncd"}},
		})
	}
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("entry %d of record %d: %w", i, r.Number, err)
	}
	var entities []json.RawMessage
	if raw, ok := fields["entity"]; ok {
		if err := json.Unmarshal(raw, &entities); err != nil {
			return nil, fmt.Errorf("entry %d of record %d: %w", i, r.Number, err)
		}
	}
	fields["entity"], _ = json.Marshal(append(entities, link(chain, r, i)))
	fields["id"], _ = json.Marshal(id(chain, r, i))
	delete(fields, "meta")
	return json.Marshal(fields)
}

// What a link says of its record.
const (
	detailPlace = "trail-entry" // "2 of 3"
	detailPrev  = "trail-previous"
	detailHash  = "trail-hash"
	detailLine  = "trail-line"
)

// link is the entity by which an AuditEvent is held against the chain: the number and
// hashes of its record, and the entry as it was chained.
func link(chain string, r trail.Record, i int) json.RawMessage {
	text, _ := json.Marshal(linkEntity{ // of strings: it can't fail
		What: identified{identifier{chainSystem + chain, strconv.FormatUint(r.Number, 10)}},
		Type: coding{"http://terminology.hl7.org/CodeSystem/audit-entity-type", "2"},
		Role: coding{"http://terminology.hl7.org/CodeSystem/object-role", "13"},
		Detail: []detail{
			{Type: detailPlace, String: fmt.Sprintf("%d of %d", i+1, len(r.Entries))},
			{Type: detailPrev, String: r.Prev.String()},
			{Type: detailHash, String: r.Hash.String()},
			{Type: detailLine, Base64: base64.StdEncoding.EncodeToString(r.Lines[i])},
		},
	})
	return text
}

// hashIn is the record's hash that an AuditEvent of this chain says, or "".
func hashIn(body []byte, chain string) string {
	var got struct {
		Entity []struct {
			What struct {
				Identifier struct{ System string }
			}
			Detail []struct{ Type, ValueString string }
		}
	}
	if json.Unmarshal(body, &got) != nil {
		return ""
	}
	for _, e := range got.Entity {
		if e.What.Identifier.System != chainSystem+chain {
			continue
		}
		for _, d := range e.Detail {
			if d.Type == detailHash {
				return d.ValueString
			}
		}
	}
	return ""
}

// bundle is a transaction that creates the AuditEvents of records, all or none.
func bundle(chain string, records []trail.Record, f form) (body []byte, n int, err error) {
	var out bytes.Buffer
	io.WriteString(&out, `{"resourceType":"Bundle","type":"transaction","entry":[`)
	for _, r := range records {
		for i := range r.Entries {
			e, err := event(chain, r, i, f)
			if err != nil {
				return nil, 0, err
			}
			if n > 0 {
				out.WriteByte(',')
			}
			fmt.Fprintf(&out, `{"resource":%s,"request":{"method":"PUT","url":"AuditEvent/%s","ifNoneMatch":"*"}}`, e, id(chain, r, i))
			n++
		}
	}
	io.WriteString(&out, `]}`)
	return out.Bytes(), n, nil
}

type coding struct {
	System string `json:"system"`
	Code   string `json:"code"`
}

type identifier struct {
	System string `json:"system"`
	Value  string `json:"value"`
}

type identified struct {
	Identifier identifier `json:"identifier"`
}

type detail struct {
	Type   string `json:"type"`
	String string `json:"valueString,omitempty"`
	Base64 string `json:"valueBase64Binary,omitempty"`
}

type linkEntity struct {
	What   identified `json:"what"`
	Type   coding     `json:"type"`
	Role   coding     `json:"role"`
	Detail []detail   `json:"detail"`
}

type named struct {
	Display string `json:"display,omitempty"`
}

type agent struct {
	Who       named `json:"who,omitzero"`
	Requestor bool  `json:"requestor"`
}

type source struct {
	Observer named `json:"observer"`
}

// stripped is an AuditEvent of nothing but what R4 requires.
type stripped struct {
	ResourceType string  `json:"resourceType"`
	Type         coding  `json:"type"`
	Action       string  `json:"action"`
	Recorded     string  `json:"recorded"`
	Outcome      string  `json:"outcome"`
	Agent        []agent `json:"agent"`
	Source       source  `json:"source"`
}

package document

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"clinicgate/syncd/queue"
)

// ecgType is the LOINC code of an ECG as a document.
const ecgType = `{"coding":[{"system":"http://loinc.org","code":"11524-6","display":"EKG study"}]}`

// frame is the transaction around the file's base64, before and behind it.
func frame(it queue.Item, sha1 []byte) (first, last string, err error) {
	binary, doc := urn(it, "binary"), urn(it, "document")
	ref := reference{
		ResourceType: "DocumentReference", Identifier: []identifier{{System, Identifier(it)}}, Status: "current",
		Subject: subjectOf(it), Date: it.Accepted.Format("2006-01-02T15:04:05.000Z07:00"), Description: it.Kind + " from " + it.Origin,
		Content: []content{{attachment{ContentType: contentType(it), URL: binary, Size: it.Size, Hash: sha1, Title: it.Meta[queue.MetaFileName]}}},
	}
	if it.Kind == "scp-ecg" || it.Kind == "aecg" {
		ref.Type = json.RawMessage(ecgType)
	}
	text, err := json.Marshal(ref)
	if err != nil {
		return "", "", fmt.Errorf("describe file: %w", err)
	}
	mime, err := json.Marshal(contentType(it))
	if err != nil {
		return "", "", fmt.Errorf("describe file: %w", err)
	}
	first = `{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"` + binary +
		`","resource":{"resourceType":"Binary","contentType":` + string(mime) + `,"data":"`
	last = `"},"request":{"method":"POST","url":"Binary"}},{"fullUrl":"` + doc + `","resource":` + string(text) +
		`,"request":{"method":"POST","url":"DocumentReference","ifNoneExist":"identifier=` + System + "|" + Identifier(it) + `"}}]}`
	return first, last, nil
}

func contentType(it queue.Item) string {
	if t := it.Meta[queue.MetaContentType]; t != "" {
		return t
	}
	return "application/octet-stream"
}

// urn is a name inside the transaction: a version 8 UUID (RFC 9562) from the
// item's identifier.
func urn(it queue.Item, what string) string {
	h := Identifier(it)
	if what == "document" {
		h = h[32:]
	}
	return strings.Join([]string{"urn:uuid:" + h[:8], h[8:12], "8" + h[13:16], "8" + h[17:20], h[20:32]}, "-")
}

// encoder is base64 of what it reads, without ever holding all of it.
type encoder struct {
	src io.Reader
	in  [3 << 10]byte
	out []byte // encoded and not yet read
	buf [4 << 10]byte
	err error
}

func (e *encoder) Read(p []byte) (int, error) {
	if len(e.out) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		n, err := io.ReadFull(e.src, e.in[:])
		if err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
		e.err = err
		base64.StdEncoding.Encode(e.buf[:], e.in[:n])
		e.out = e.buf[:base64.StdEncoding.EncodedLen(n)]
		if len(e.out) == 0 {
			return 0, e.err
		}
	}
	n := copy(p, e.out)
	e.out = e.out[n:]
	return n, nil
}

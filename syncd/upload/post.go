package upload

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"clinicgate/syncd/ingest"
	"clinicgate/syncd/partial"
)

// metaDigest is the SHA-256 of the whole as its sender says it, in hex.
const metaDigest = "sha256"

// post takes one file as the body. The same again gives the same item.
func (h *Handler) post(w http.ResponseWriter, r *http.Request, s sender) {
	switch {
	case r.ContentLength < 0:
		problem(w, http.StatusLengthRequired, "length", "want Content-Length")
		return
	case r.ContentLength == 0 || r.ContentLength > maxFile:
		problem(w, http.StatusRequestEntityTooLarge, "length", "want 1 byte to 4 GiB")
		return
	}
	meta, err := metadata(r.Header.Get("Upload-Metadata"))
	if err != nil {
		problem(w, http.StatusBadRequest, "metadata", err.Error())
		return
	}
	if d := r.Header.Get("Repr-Digest"); d != "" {
		sum, ok := reprDigest(d)
		if !ok {
			problem(w, http.StatusBadRequest, "digest", "Repr-Digest, want sha-256=:base64: (RFC 9530)")
			return
		}
		meta[metaDigest] = sum
	}
	info, err := h.Parts.Create(s.owner(), "post "+rand.Text(), r.ContentLength, meta, time.Now())
	if err != nil {
		refused(w, err)
		return
	}
	defer func() { _ = h.Parts.Remove(s.owner(), info.ID) }() // expires if it can't be now
	info.Offset, err = h.Parts.Append(s.owner(), info.ID, 0, r.Body, time.Now())
	if err == nil && info.Offset < info.Total {
		err = io.ErrUnexpectedEOF
	}
	var out partial.Outcome
	if err == nil {
		out, err = h.whole(r, s, info)
	}
	if err != nil {
		h.Log.Warn("upload not accepted", "device", s.name, "err", err)
		refused(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"item": out.Item, "size": info.Total}) // a sender that went away
}

// reprDigest reads the sha-256 of RFC 9530 and gives it in hex.
func reprDigest(field string) (string, bool) {
	for _, one := range strings.Split(field, ",") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(one), "sha-256=:"); ok {
			sum, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(v, ":"))
			return hex.EncodeToString(sum), err == nil && len(sum) == sha256.Size
		}
	}
	return "", false
}

// whole hands a complete file over to the queue and remembers what became of it.
// What is refused for good is forgotten.
func (h *Handler) whole(r *http.Request, s sender, info partial.Info) (partial.Outcome, error) {
	began := time.Now()
	err := h.check(s, info)
	var out partial.Outcome
	if err == nil {
		err = h.still(r, s)
	}
	if err == nil {
		out, err = h.toDoor(r, s, info)
	}
	var no *ingest.Refusal
	if errors.As(err, &no) && no.Permanent() {
		return out, errors.Join(err, h.Parts.Remove(s.owner(), info.ID))
	}
	if err == nil {
		err = h.took(s, out.Item)
	}
	if err == nil {
		err = h.Parts.Finish(info.ID, out, time.Now())
	}
	if err == nil {
		h.Log.Info("upload stored", "device", s.name, "item", out.Item, "bytes", info.Total, "ms", time.Since(began).Milliseconds())
	}
	return out, err
}

// check holds the whole against the digest its sender announced.
func (h *Handler) check(s sender, info partial.Info) error {
	want := info.Meta[metaDigest]
	if want == "" {
		return nil
	}
	body, err := h.Parts.Body(s.owner(), info.ID)
	if err != nil {
		return err
	}
	defer body.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, body); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != want {
		return &ingest.Refusal{Reason: ingest.Mismatch, What: "the file has another SHA-256 than announced"}
	}
	return nil
}

func (h *Handler) toDoor(r *http.Request, s sender, info partial.Info) (partial.Outcome, error) {
	body, err := h.Parts.Body(s.owner(), info.ID)
	if err != nil {
		return partial.Outcome{}, err
	}
	defer body.Close()
	receipt, err := h.Door.Stream(r.Context(), ingest.Source{Origin: s.name, Via: "https", Patient: statement(info.Meta)}, body)
	return partial.Outcome{Item: receipt.ID.String()}, err
}

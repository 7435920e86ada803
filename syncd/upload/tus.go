package upload

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"clinicgate/syncd/partial"
)

// tus 1.0.0 (tus.io/protocols/resumable-upload) with these extensions. The last
// PATCH succeeds only when the file is in the queue, and until then HEAD never
// tells the full length: a client takes that for the end.
const (
	tusVersion    = "1.0.0"
	tusExtensions = "creation,expiration,checksum,termination"
	tusChecksums  = "sha1,sha256" // sha1 must be there; it guards against accidents only
	// maxChecked is the largest PATCH with a checksum: it is in memory until it is
	// known to be right.
	maxChecked = 1 << 20
	// statusChecksum is the protocol's own.
	statusChecksum = 460
	maxMetadata    = 4 << 10
)

type step func(http.ResponseWriter, *http.Request, sender)

func (h *Handler) tusOptions(w http.ResponseWriter, _ *http.Request) {
	for k, v := range map[string]string{
		"Tus-Resumable": tusVersion, "Tus-Version": tusVersion, "Tus-Extension": tusExtensions,
		"Tus-Checksum-Algorithm": tusChecksums, "Tus-Max-Size": strconv.FormatInt(maxFile, 10),
	} {
		w.Header().Set(k, v)
	}
	w.WriteHeader(http.StatusNoContent)
}

// tus holds a request against the protocol's version.
func (h *Handler) tus(next step) step {
	return func(w http.ResponseWriter, r *http.Request, s sender) {
		w.Header().Set("Tus-Resumable", tusVersion)
		if r.Header.Get("Tus-Resumable") != tusVersion {
			w.Header().Set("Tus-Version", tusVersion)
			problem(w, http.StatusPreconditionFailed, "version", "want Tus-Resumable: "+tusVersion)
			return
		}
		next(w, r, s)
	}
}

func (h *Handler) tusCreate(w http.ResponseWriter, r *http.Request, s sender) {
	total, err := strconv.ParseInt(r.Header.Get("Upload-Length"), 10, 64)
	if err != nil || total < 1 {
		problem(w, http.StatusBadRequest, "length", "want Upload-Length, a number of bytes from 1")
		return
	}
	if total > maxFile {
		problem(w, http.StatusRequestEntityTooLarge, "length", fmt.Sprintf("got %d bytes, want at most %d", total, int64(maxFile)))
		return
	}
	meta, err := metadata(r.Header.Get("Upload-Metadata"))
	if err != nil {
		problem(w, http.StatusBadRequest, "metadata", err.Error())
		return
	}
	info, err := h.Parts.Create(s.owner(), "tus "+rand.Text(), total, meta, time.Now())
	if err != nil {
		refused(w, err)
		return
	}
	w.Header().Set("Location", TusPath+info.ID)
	expires(w, info)
	w.WriteHeader(http.StatusCreated)
}

// metadata reads Upload-Metadata and keeps what is of use here: the digest, and whose
// the file is.
func metadata(field string) (map[string]string, error) {
	if len(field) > maxMetadata {
		return nil, fmt.Errorf("upload-metadata of %d bytes, want at most %d", len(field), maxMetadata)
	}
	meta := map[string]string{}
	for _, pair := range strings.Split(field, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), " ")
		text, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return nil, errors.New("upload-metadata, want pairs of key and base64")
		}
		if stated(key) {
			if len(text) > maxStated || !utf8.Valid(text) {
				return nil, fmt.Errorf("upload-metadata %s, want at most %d bytes of UTF-8", key, maxStated)
			}
			meta[key] = string(text)
		}
		if key != metaDigest {
			continue
		}
		sum, err := hex.DecodeString(string(text))
		if err != nil || len(sum) != sha256.Size {
			return nil, errors.New("upload-metadata sha256, want 64 hex digits")
		}
		meta[metaDigest] = hex.EncodeToString(sum)
	}
	return meta, nil
}

// tusHead tells the offset. A file that is whole but could not be handed over yet
// is tried again first.
func (h *Handler) tusHead(w http.ResponseWriter, r *http.Request, s sender) {
	info, err := h.Parts.Find(s.owner(), r.PathValue("id"))
	if err == nil && info.Done == nil && info.Offset == info.Total {
		_, err = h.whole(r, s, info)
	}
	if err != nil {
		refused(w, err)
		return
	}
	w.Header().Set("Upload-Offset", strconv.FormatInt(info.Offset, 10))
	w.Header().Set("Upload-Length", strconv.FormatInt(info.Total, 10))
	expires(w, info)
	w.WriteHeader(http.StatusOK)
}

func (h *Handler) tusPatch(w http.ResponseWriter, r *http.Request, s sender) {
	if t := r.Header.Get("Content-Type"); t != "application/offset+octet-stream" {
		problem(w, http.StatusUnsupportedMediaType, "content-type", "want application/offset+octet-stream")
		return
	}
	at, err := strconv.ParseInt(r.Header.Get("Upload-Offset"), 10, 64)
	if err != nil || at < 0 {
		problem(w, http.StatusBadRequest, "offset", "want Upload-Offset, a number of bytes")
		return
	}
	info, err := h.Parts.Find(s.owner(), r.PathValue("id"))
	if err == nil && at != info.Offset {
		err = fmt.Errorf("%w: got %d, want %d", partial.ErrOffset, at, info.Offset)
	}
	if err != nil {
		refused(w, err)
		return
	}
	body := io.Reader(r.Body)
	if sum := r.Header.Get("Upload-Checksum"); sum != "" {
		piece, status, err := checked(sum, r.Body)
		if err != nil {
			problem(w, status, "checksum", err.Error())
			return
		}
		body = bytes.NewReader(piece)
	}
	if info.Done == nil {
		info.Offset, err = h.Parts.Append(s.owner(), info.ID, at, body, time.Now())
	}
	if err == nil && info.Done == nil && info.Offset == info.Total {
		_, err = h.whole(r, s, info)
	}
	if err != nil {
		h.Log.Warn("tus upload not accepted", "device", s.name, "err", err)
		refused(w, err)
		return
	}
	w.Header().Set("Upload-Offset", strconv.FormatInt(info.Offset, 10))
	expires(w, info)
	w.WriteHeader(http.StatusNoContent)
}

// checked reads a piece and holds it against its Upload-Checksum.
func checked(field string, body io.Reader) (piece []byte, status int, err error) {
	name, value, _ := strings.Cut(field, " ")
	want, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
	if err != nil || name != "sha1" && name != "sha256" {
		return nil, http.StatusBadRequest, errors.New("upload-checksum, want one of " + tusChecksums + " and base64")
	}
	piece, err = io.ReadAll(io.LimitReader(body, maxChecked+1))
	if err != nil {
		return nil, http.StatusBadRequest, errors.New("the piece broke off")
	}
	if len(piece) > maxChecked {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("want at most %d bytes in a piece with a checksum", maxChecked)
	}
	sum1, sum256 := sha1.Sum(piece), sha256.Sum256(piece)
	if got := map[string][]byte{"sha1": sum1[:], "sha256": sum256[:]}[name]; !bytes.Equal(got, want) {
		return nil, statusChecksum, errors.New("the piece has another checksum")
	}
	return piece, 0, nil
}

func (h *Handler) tusDelete(w http.ResponseWriter, r *http.Request, s sender) {
	if err := h.Parts.Remove(s.owner(), r.PathValue("id")); err != nil {
		refused(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func expires(w http.ResponseWriter, info partial.Info) {
	w.Header().Set("Upload-Expires", info.Expires.UTC().Format(http.TimeFormat))
}

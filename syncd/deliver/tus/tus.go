// Package tus brings files to a server that takes resumable uploads (tus 1.0.0).
// Its one guarantee: a file is reported as delivered only when the server has said
// that it holds all of its bytes, under an upload that was announced with the file's
// SHA-256; and after a broken connection, a stop of this program or a dead box it
// goes on from what the server holds.
//
// To the server a file is its idempotency-key in Upload-Metadata: should it ever get
// two uploads with one key (its answer to the creation was lost), they are one file.
package tus

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"clinicgate/syncd/deliver"
	"clinicgate/syncd/deliver/progress"
	"clinicgate/syncd/queue"
)

// Chunk is how much one request brings: what is sent again, at most, after a cut.
const Chunk = 1 << 20

// Sender is one server.
type Sender struct {
	Client *deliver.Client
	URL    *url.URL       // of the creation, the client's base
	Places *progress.File // where uploads that have begun are
	Key    func(queue.Item) string
}

// Send brings one file there.
//
//	HEAD at the place it began    there whole: delivered; a part: go on; gone: begin anew
//	POST                          stop before the place is kept: the next attempt begins anew
//	PATCH, chunk by chunk         no answer: the next attempt asks by HEAD
//	HEAD                          all of it: delivered
func (s *Sender) Send(ctx context.Context, it queue.Item, tried bool, body deliver.Body) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, deliver.Patience(it.Size))
	defer cancel()
	key := s.Key(it)
	place, offset := s.Places.Get(key), int64(0)
	if place != "" {
		var err error
		if offset, err = s.head(ctx, place, it.Size); errors.Is(err, errGone) {
			place = ""
		} else if err != nil {
			return "", err
		}
	}
	if place == "" {
		var err error
		if place, err = s.create(ctx, it, key); err != nil {
			return "", err
		}
		if err := s.Places.Put(key, place); err != nil {
			return "", fmt.Errorf("keep the place of an upload: %w", err)
		}
		offset = 0
	}
	if err := s.bring(ctx, place, offset, it.Size, body); err != nil {
		return "", err
	}
	if got, err := s.head(ctx, place, it.Size); err != nil || got != it.Size {
		return "", errors.Join(&deliver.Failure{Kind: deliver.Troubled, Reason: "sent whole, and the server does not hold all of it"}, err)
	}
	return "all of it there, says the server", nil
}

// bring sends what is missing.
func (s *Sender) bring(ctx context.Context, place string, offset, size int64, body deliver.Body) error {
	if offset >= size {
		return nil
	}
	file, err := body()
	if err != nil {
		return fmt.Errorf("read item: %w", err)
	}
	defer file.Close()
	if _, err := io.CopyN(io.Discard, deliver.Aside(file), offset); err != nil {
		return fmt.Errorf("read item: %w", err)
	}
	for offset < size {
		n := min(Chunk, size-offset)
		resp, err := s.do(ctx, "PATCH", place, io.LimitReader(file, n), n, map[string]string{
			"Content-Type": "application/offset+octet-stream", "Upload-Offset": strconv.FormatInt(offset, 10),
		})
		if err != nil {
			return err
		}
		deliver.Discard(resp)
		if resp.StatusCode != http.StatusNoContent {
			return status(resp)
		}
		got, err := strconv.ParseInt(resp.Header.Get("Upload-Offset"), 10, 64)
		if err != nil || got != offset+n {
			return &deliver.Failure{Kind: deliver.Troubled, Reason: fmt.Sprintf("holds %.20q bytes after %d", resp.Header.Get("Upload-Offset"), offset+n)}
		}
		offset = got
	}
	return nil
}

// errGone is an upload that the server does not know any more.
var errGone = errors.New("upload expired")

// head asks how much the server holds.
func (s *Sender) head(ctx context.Context, place string, size int64) (int64, error) {
	resp, err := s.do(ctx, "HEAD", place, nil, 0, nil)
	if err != nil {
		return 0, err
	}
	deliver.Discard(resp)
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNoContent:
	case http.StatusNotFound, http.StatusGone, http.StatusForbidden: // 403: tus 1.0.0 lets a server say so
		return 0, errGone
	default:
		return 0, deliver.Status(resp)
	}
	offset, err := strconv.ParseInt(resp.Header.Get("Upload-Offset"), 10, 64)
	if err != nil || offset < 0 || offset > size {
		return 0, &deliver.Failure{Kind: deliver.Refusing, Reason: fmt.Sprintf("says it holds %.20q of %d bytes", resp.Header.Get("Upload-Offset"), size)}
	}
	return offset, nil
}

// create announces a file and returns its place, a path behind the base.
func (s *Sender) create(ctx context.Context, it queue.Item, key string) (string, error) {
	resp, err := s.do(ctx, "POST", "", nil, 0, map[string]string{
		"Upload-Length": strconv.FormatInt(it.Size, 10), "Upload-Metadata": metadata(it, key),
	})
	if err != nil {
		return "", err
	}
	deliver.Discard(resp)
	if resp.StatusCode != http.StatusCreated {
		return "", status(resp)
	}
	u, err := url.Parse(resp.Header.Get("Location"))
	if err == nil {
		u = s.URL.JoinPath("/").ResolveReference(u)
	}
	place, inside := "", false
	if err == nil {
		place, inside = strings.CutPrefix(u.Path, strings.TrimSuffix(s.URL.Path, "/"))
	}
	if err != nil || !inside || u.Host != s.URL.Host || len(place) > 1024 || !strings.HasPrefix(place, "/") {
		return "", &deliver.Failure{Kind: deliver.Refusing, Reason: "creates uploads at another address than its own"}
	}
	return place, nil
}

// metadata is what the server should know of a file: pairs of key and base64.
func metadata(it queue.Item, key string) string {
	pairs := [][2]string{{"idempotency-key", key}, {"sha256", it.Digest.String()}, {"kind", it.Kind}, {"filetype", it.Meta[queue.MetaContentType]}}
	if ref := it.Meta[queue.MetaPatientRef]; ref != "" {
		pairs = append(pairs, [2]string{"patient", ref})
	}
	var all []string
	for _, p := range pairs {
		all = append(all, p[0]+" "+base64.StdEncoding.EncodeToString([]byte(p[1])))
	}
	return strings.Join(all, ",")
}

func (s *Sender) do(ctx context.Context, method, path string, body io.Reader, size int64, header map[string]string) (*http.Response, error) {
	all := map[string]string{"Tus-Resumable": "1.0.0"}
	for k, v := range header {
		all[k] = v
	}
	return s.Client.Do(ctx, deliver.Request{Method: method, Path: path, Body: body, Size: size, Header: all})
}

// status judges an answer of tus: 409 and 423 are of this moment, not of the file.
func status(resp *http.Response) error {
	err := deliver.Status(resp)
	var f *deliver.Failure
	if errors.As(err, &f) && (resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusLocked || resp.StatusCode == http.StatusGone) {
		f.Kind = deliver.Troubled
	}
	return err
}

package mqtt

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"clinicgate/syncd/ingest"
	"clinicgate/syncd/partial"
	"clinicgate/syncd/queue"
)

// A file that does not fit a message comes in chunks, each under
//
//	clinic/NAME/ecg/.../chunks/SHA256/TOTAL/OFFSET
//
// with the digest (hex) and size of the whole and the place of this piece in it.
// The ack of a chunk means that everything up to its end is on disk; that of the
// last, that the whole was what the digest says and is in the queue.
//
//	stop after a chunk       its ack may be lost: it comes again and is passed over
//	stop after the last      whole, not in the queue: the last comes again
//	stop after the queue     the last comes again, the same item, or known as done

// chunk is the place of a message in its file.
type chunk struct {
	digest queue.Digest
	total  int64
	offset int64
}

// maxChunked is the largest file taken in chunks.
const maxChunked = 4 << 30

// chunkLevels splits a chunk's topic: the topic of the file, and the levels that
// say what chunk it is.
func chunkLevels(topic string) (file string, levels []string, ok bool) {
	all := strings.Split(topic, "/")
	at := len(all) - 4
	if at < 3 || all[at] != "chunks" {
		return "", nil, false
	}
	return strings.Join(all[:at], "/"), all[at+1:], true
}

// parseChunk reads the three levels; size is that of the message.
func parseChunk(levels []string, size int) (c chunk, err error) {
	digest, err := hex.DecodeString(levels[0])
	if err != nil || len(digest) != sha256.Size || levels[0] != strings.ToLower(levels[0]) {
		return c, errors.New("chunk's digest is not 64 lower-case hex digits")
	}
	if c.total, err = number(levels[1]); err != nil || c.total == 0 || c.total > maxChunked {
		return c, fmt.Errorf("chunk's total, want 1 to %d", int64(maxChunked))
	}
	if c.offset, err = number(levels[2]); err != nil || size == 0 || c.offset+int64(size) > c.total {
		return c, errors.New("chunk is empty or goes beyond the total")
	}
	c.digest = queue.Digest(digest)
	return c, nil
}

func number(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 48)
	if err == nil && strconv.FormatInt(n, 10) != s || n < 0 {
		err = strconv.ErrSyntax
	}
	return n, err
}

// piece takes one chunk. It returns what take returns.
func (h *hook) piece(cl *mochi.Client, from ingest.Source, topic string, levels []string, payload []byte) error {
	c, err := parseChunk(levels, len(payload))
	if err != nil {
		h.raise(from.Origin, err.Error())
		return h.unusable(cl, packets.ErrTopicNameInvalid.Code, err.Error())
	}
	info, err := h.parts.Create(from.Origin, topic+" "+levels[0]+" "+levels[1], c.total, nil, time.Now())
	if err != nil {
		return h.notTaken(cl, from.Origin, err)
	}
	if info.Done != nil {
		return packets.CodeSuccessIgnore
	}
	if c.offset > info.Offset {
		return h.unusable(cl, packets.ErrImplementationSpecificError.Code, fmt.Sprintf("want offset %d", info.Offset))
	}
	if fresh := payload[min(int64(len(payload)), info.Offset-c.offset):]; len(fresh) > 0 {
		info.Offset, err = h.parts.Append(from.Origin, info.ID, info.Offset, bytes.NewReader(fresh), time.Now())
		if err != nil {
			return h.notTaken(cl, from.Origin, err)
		}
	}
	if info.Offset < c.total || c.offset+int64(len(payload)) < c.total {
		return packets.CodeSuccessIgnore
	}
	return h.whole(cl, from, info.ID, c)
}

// unusable refuses a chunk that can't be taken as it is. MQTT 3.1.1 has no way but
// to close.
func (h *hook) unusable(cl *mochi.Client, code byte, what string) error {
	h.log.Warn("mqtt chunk not taken", "err", what)
	if cl.Properties.ProtocolVersion >= 5 {
		return packets.Code{Code: code, Reason: what}
	}
	return h.close(cl, packets.Code{Code: code, Reason: what})
}

// notTaken closes for our own reasons: the device sends again.
func (h *hook) notTaken(cl *mochi.Client, name string, err error) error {
	h.log.Warn("mqtt chunk not accepted", "device", name, "err", err)
	if errors.Is(err, partial.ErrFull) || errors.Is(err, partial.ErrQuota) {
		return h.close(cl, packets.ErrQuotaExceeded)
	}
	return h.close(cl, packets.ErrUnspecifiedError)
}

// whole checks a file that is complete and makes it an item.
func (h *hook) whole(cl *mochi.Client, from ingest.Source, id string, c chunk) error {
	began := time.Now()
	digest, err := h.digest(from.Origin, id)
	if err != nil {
		return h.notTaken(cl, from.Origin, err)
	}
	var receipt queue.Receipt
	var refusal *ingest.Refusal
	if digest != c.digest {
		refusal = &ingest.Refusal{Reason: ingest.Mismatch, What: "the chunks together have another SHA-256 than announced"}
		err = refusal
	} else {
		receipt, err = h.fromParts(from.Origin, id, func(body io.Reader) (queue.Receipt, error) { return h.door.Stream(h.ctx, from, body) })
	}
	outcome := partial.Outcome{}
	if errors.As(err, &refusal) && refusal.Permanent() {
		if cl.Properties.ProtocolVersion >= 5 { // the device understands, and begins anew if it sends again
			if err := h.parts.Remove(from.Origin, id); err != nil {
				return h.notTaken(cl, from.Origin, err)
			}
			return h.unusable(cl, packets.ErrPayloadFormatInvalid.Code, refusal.What)
		}
		outcome.Held = refusal.What
		receipt, err = h.fromParts(from.Origin, id, func(body io.Reader) (queue.Receipt, error) {
			return h.door.HoldStream(h.ctx, from, digest, c.total, body, refusal)
		})
	}
	if err == nil {
		outcome.Item = receipt.ID.String()
		err = h.parts.Finish(id, outcome, time.Now())
	}
	if err != nil {
		if errors.As(err, &refusal) && refusal.Reason == ingest.Full {
			err = fmt.Errorf("%w: %w", partial.ErrFull, err)
		}
		return h.notTaken(cl, from.Origin, err)
	}
	h.faults.Clear(faultDevice, from.Origin)
	h.log.Info("mqtt stored from chunks", "device", from.Origin, "item", outcome.Item, "held", outcome.Held, "bytes", receipt.Size, "ms", time.Since(began).Milliseconds())
	return packets.CodeSuccessIgnore
}

func (h *hook) digest(name, id string) (queue.Digest, error) {
	sum := sha256.New()
	_, err := h.fromParts(name, id, func(body io.Reader) (queue.Receipt, error) {
		_, err := io.Copy(sum, body)
		return queue.Receipt{}, err
	})
	return queue.Digest(sum.Sum(nil)), err
}

// fromParts gives a whole file to use.
func (h *hook) fromParts(name, id string, use func(io.Reader) (queue.Receipt, error)) (queue.Receipt, error) {
	body, err := h.parts.Body(name, id)
	if err != nil {
		return queue.Receipt{}, err
	}
	defer body.Close()
	return use(body)
}

// Package netctl asks netd over its control socket. Every question has a time limit
// and every answer a size limit.
package netctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"clinicgate/firmware/gatectl/ask"
	"clinicgate/firmware/wire"
)

// Client asks the netd of one run directory.
type Client struct {
	Run string
}

// ErrQuestion is wrapped by the reason why netd can't make sense of a question.
var ErrQuestion = errors.New("netd does not understand")

// Limits of an answer. That of all leases is the longest.
const (
	patient   = 10 * time.Second
	maxAnswer = 4 << 20
)

func (c Client) peer() ask.Peer {
	return ask.Peer{Run: c.Run, Name: "netd", Limit: maxAnswer, Time: patient}
}

// Why asks which way a new flow takes; query has src and dst, and may have proto,
// port and dscp.
func (c Client) Why(ctx context.Context, query url.Values) (w wire.FlowWay, err error) {
	err = c.peer().JSON(ctx, http.MethodGet, "/why?"+query.Encode(), nil, &w)
	return w, question(err)
}

// Leases asks which addresses the box has given to whom.
func (c Client) Leases(ctx context.Context) (list []wire.Lease, err error) {
	err = c.peer().JSON(ctx, http.MethodGet, "/leases", nil, &list)
	return list, err
}

// Bounds of what goes on for a while: a trace to nowhere takes two minutes, a capture
// five.
const (
	echoes     = 64 << 10
	maxCapture = 16 << 20
)

// Echo has netd ask an address for echoes; query has to, and may have by, count and
// trace. It calls tell with each line as it comes.
func (c Client) Echo(ctx context.Context, query url.Values, tell func(wire.Echo)) error {
	peer := c.peer()
	peer.Limit = echoes
	answer, err := peer.Open(ctx, http.MethodPost, "/echo?"+query.Encode(), nil)
	if err != nil {
		return question(err)
	}
	defer answer.Close()
	lines := json.NewDecoder(answer)
	for {
		var e wire.Echo
		switch err := lines.Decode(&e); {
		case errors.Is(err, io.EOF) || ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("ask netd: %w", err)
		}
		tell(e)
	}
}

// Capture has netd write a pcap file of what passes a device; query has on, and may
// have packets and seconds. It ends with ctx, too.
func (c Client) Capture(ctx context.Context, query url.Values, out io.Writer) (int64, error) {
	peer := c.peer()
	peer.Limit = maxCapture
	answer, err := peer.Open(ctx, http.MethodPost, "/capture?"+query.Encode(), nil)
	if err != nil {
		return 0, question(err)
	}
	defer answer.Close()
	n, err := io.Copy(out, answer)
	if ctx.Err() != nil {
		err = nil // what came until then is a capture, too
	}
	return n, err
}

// question tells a question that netd can't make sense of from trouble.
func question(err error) error {
	if no := (*ask.Refusal)(nil); errors.As(err, &no) && no.Code == http.StatusBadRequest {
		return fmt.Errorf("%w: %s", ErrQuestion, no.Text())
	}
	return err
}

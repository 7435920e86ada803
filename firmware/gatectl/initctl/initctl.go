// Package initctl asks PID 1 over its control socket: for logs, and to end. Every
// question has a time limit and every answer a size limit.
package initctl

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"clinicgate/firmware/gatectl/ask"
	"clinicgate/firmware/lamp"
)

// Client asks the init of one run directory.
type Client struct {
	Run string
}

// Limits of an answer.
const (
	maxLine   = 64 << 10
	maxAnswer = 4 << 10 // that is no log
	maxSite   = 512 << 10
	maxKernel = 1 << 20
	// maxEvidence is for a quote and a few registers.
	maxEvidence = 16 << 10
	quoteTime   = 30 * time.Second
	patient     = 10 * time.Second
	// slotTime is for a kernel image of some 10 MB, written and read back.
	slotTime = 2 * time.Minute
)

func (c Client) peer(limit time.Duration) ask.Peer {
	return ask.Peer{Run: c.Run, Name: "init", Limit: maxAnswer, Time: limit}
}

// hint says why there may be nobody: not every machine is a box.
func hint(err error) error {
	if dial := (*net.OpError)(nil); errors.As(err, &dial) {
		return fmt.Errorf("%w (is this the box, and may you?)", err)
	}
	return err
}

// Log calls line for each of the last n log lines of a service, or of all when
// service is empty; with follow it goes on until ctx ends. A line longer than 64
// KiB ends it with an error.
func (c Client) Log(ctx context.Context, service string, n int, follow bool, line func(string)) error {
	query := url.Values{"lines": {strconv.Itoa(n)}}
	if service != "" {
		query.Set("service", service)
	}
	if follow {
		query.Set("follow", "1")
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patient)
		defer cancel()
	}
	peer := c.peer(patient)
	peer.Limit = 0 // it goes on as long as it is followed
	text, err := peer.Open(ctx, http.MethodGet, "/log?"+query.Encode(), nil)
	if err != nil {
		return hint(err)
	}
	defer text.Close()
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line(lines.Text())
	}
	if err := lines.Err(); err != nil && !(follow && ctx.Err() != nil) {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

// Attest asks for what runs on the box in its TPM's words, for a nonce in hex.
func (c Client) Attest(ctx context.Context, nonce string) ([]byte, error) {
	peer := c.peer(quoteTime)
	peer.Limit = maxEvidence
	answer, err := peer.Do(ctx, http.MethodGet, "/attest?"+url.Values{"nonce": {nonce}}.Encode(), nil)
	return answer, hint(err)
}

// End asks for "poweroff" or "reboot". It returns when init has agreed.
func (c Client) End(ctx context.Context, how string) error {
	_, err := c.peer(patient).Do(ctx, http.MethodPost, "/"+how, nil)
	return hint(err)
}

// Slot asks for a step of an update: "arm", "commit" or "fail", with its words. It
// returns when that step outlives a power cut. Copying a kernel image takes a
// while on cheap flash.
func (c Client) Slot(ctx context.Context, step string, words url.Values) error {
	_, err := c.peer(slotTime).Do(ctx, http.MethodPost, "/slot/"+step+"?"+words.Encode(), nil)
	return hint(err)
}

// Site asks something of the site file on trial: "apply", "confirm" or "return" with
// its words and the file itself, or "" and "before" for what there is to know. An
// answer that is no success is an *ask.Refusal.
func (c Client) Site(ctx context.Context, step string, words url.Values, file []byte) ([]byte, error) {
	method, path := http.MethodPost, "/site/"+step+"?"+words.Encode()
	switch step {
	case "":
		method, path = http.MethodGet, "/site"
	case "before":
		method, path = http.MethodGet, "/site/before"
	}
	peer := c.peer(patient)
	peer.Limit = maxSite
	answer, err := peer.Do(ctx, method, path, bytes.NewReader(file))
	return answer, hint(err)
}

// Kernel asks for the kernel's log.
func (c Client) Kernel(ctx context.Context) ([]byte, error) {
	peer := c.peer(patient)
	peer.Limit = maxKernel
	answer, err := peer.Do(ctx, http.MethodGet, "/kernel", nil)
	return answer, hint(err)
}

// Reset says what a factory reset would cost; with the phrase that a person typed it
// orders one. An answer that is no success is an *ask.Refusal.
func (c Client) Reset(ctx context.Context, phrase string) ([]byte, error) {
	method, path := http.MethodGet, "/reset"
	if phrase != "" {
		method, path = http.MethodPost, "/reset?"+url.Values{"phrase": {phrase}}.Encode()
	}
	answer, err := c.peer(patient).Do(ctx, method, path, nil)
	return answer, hint(err)
}

// Lamp tells what the light at the front is to say.
func (c Client) Lamp(ctx context.Context, says lamp.State) error {
	_, err := c.peer(patient).Do(ctx, http.MethodPost, "/lamp?says="+url.QueryEscape(string(says)), nil)
	return hint(err)
}

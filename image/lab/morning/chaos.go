package morning

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/suyashkumar/dicom/pkg/tag"

	"clinicgate/firmware/lab/proc"
	"clinicgate/image/lab/clinic"
)

// Of the sample ECG. Its copies have other ones of the same length.
const (
	sampleUID     = "1.3.6.1.4.1.20029.40.20130125105919.5407.1.1"
	samplePatient = "642341"
)

// carts send at once during chaos.
const carts = 3

// A recording is one ECG that a cart has until it is acknowledged.
type recording struct {
	uid, patient, file string
	body               []byte
	acked              bool
}

// chaos is a clinic whose box loses its power again and again.
type chaos struct {
	*Morning
	dice *rand.Rand
	dir  string

	mu   sync.Mutex
	all  []*recording
	open []*recording // nobody sends them now
}

// Chaos cuts the box's power n times, at random moments while carts send and the box
// delivers, and lets it boot again. A cart sends an ECG again until it is
// acknowledged, as carts do. In the end the hospital must have every acknowledged
// ECG once, unaltered, under its own patient, and the box must say the same.
func (m *Morning) Chaos(ctx context.Context, n int, seed uint64) error {
	c := &chaos{Morning: m, dice: rand.New(rand.NewPCG(seed, 1)), dir: filepath.Join(m.Clinic.Dir, "carts")}
	fmt.Fprintf(m.Out, "seed %d\n", seed)
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	if err := m.boot(ctx); err != nil {
		return err
	}
	if err := m.tunnel(ctx); err != nil {
		return err
	}
	for round := range n {
		limited, cancel := context.WithTimeout(ctx, stepLimit)
		err := c.round(limited, round)
		cancel()
		if err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
	}
	return c.judge(ctx, n)
}

// round is one life of the box: carts send, and its power goes at a random moment.
// Every other round the line to the hospital is dead meanwhile, so that a backlog
// meets the cut; the rounds between deliver it.
func (c *chaos) round(ctx context.Context, round int) error {
	c.providers(round%2 == 1)
	life, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range carts {
		wg.Go(func() { c.cart(life) })
	}
	at := 300*time.Millisecond + time.Duration(c.dice.Int64N(int64(5*time.Second)))
	select {
	case <-time.After(at):
	case <-ctx.Done():
	}
	err := c.Box.CutPower()
	acked := c.count()
	end()
	wg.Wait()
	if err != nil {
		return err
	}
	booting := time.Now()
	if err := c.Box.Boot(ctx); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "cut %3d after %4.1f s: %3d ECGs acknowledged so far; it answers again after %.0f s\n", round+1, at.Seconds(), acked, time.Since(booting).Seconds())
	return nil
}

// providers cuts the box's lines, or mends them.
func (c *chaos) providers(alive bool) {
	for _, name := range []string{clinic.CableA, clinic.CableB} {
		if alive {
			c.Clinic.Cables[name].Restore()
		} else {
			c.Clinic.Cables[name].Cut()
		}
	}
}

func (c *chaos) count() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.all {
		if r.acked {
			n++
		}
	}
	return n
}

// cart sends one ECG after the other until life ends.
func (c *chaos) cart(life context.Context) {
	for life.Err() == nil {
		r, err := c.next()
		if err != nil {
			fmt.Fprintln(c.Out, err)
			return
		}
		ok := c.send(life, r)
		c.mu.Lock()
		r.acked = ok
		if !ok {
			c.open = append(c.open, r)
		}
		c.mu.Unlock()
		if !ok {
			select {
			case <-time.After(200 * time.Millisecond):
			case <-life.Done():
			}
		}
	}
}

// next is an ECG that was not acknowledged, or a new one.
func (c *chaos) next() (*recording, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) > 0 {
		r := c.open[0]
		c.open = c.open[1:]
		return r, nil
	}
	sample, err := os.ReadFile(c.testdata("12lead.dcm"))
	if err != nil {
		return nil, err
	}
	n := len(c.all)
	r := &recording{uid: fmt.Sprintf("%s1%07d", sampleUID[:len(sampleUID)-8], n), patient: fmt.Sprintf("7%05d", n), file: filepath.Join(c.dir, fmt.Sprintf("%d.dcm", n))}
	r.body = bytes.ReplaceAll(bytes.ReplaceAll(sample, []byte(sampleUID), []byte(r.uid)), []byte(samplePatient), []byte(r.patient))
	c.all = append(c.all, r)
	return r, os.WriteFile(r.file, r.body, 0o644)
}

// send reports whether the ECG was acknowledged.
func (c *chaos) send(ctx context.Context, r *recording) bool {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := proc.Run(ctx, c.Clinic.Cart, "storescu", "-v", "-R", "-to", "5", "-aet", "ECGCART", "-aec", "CLINICGATE", clinic.Gateway, "11112", r.file)
	return bytes.Contains(out, []byte("Received Store Response (Success)")) && (err == nil || ctx.Err() != nil)
}

// settled is how long a backlog may take after the last boot.
const settled = 10 * time.Minute

// judge lets the carts get rid of what they have, and holds the hospital and the box
// against what was acknowledged.
func (c *chaos) judge(ctx context.Context, cuts int) error {
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	c.providers(true)
	for len(c.open) > 0 {
		r, err := c.next()
		if err != nil {
			return err
		}
		if r.acked = c.send(ctx, r); !r.acked {
			c.open = append(c.open, r)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d ECGs are not taken: %w", len(c.open), ctx.Err())
		}
	}
	if err := shows(ctx, c.Box, `QUEUE +stat 0 +routine 0 +bulk 0 +held 0 +delivered `); err != nil {
		return err
	}
	received, err := c.Clinic.HospitalReceived()
	if err != nil {
		return err
	}
	var wrong []error
	count := map[fault]int{}
	for _, r := range c.all {
		if what, err := c.there(ctx, r, received[r.uid]); err != nil {
			count[what]++
			wrong = append(wrong, fmt.Errorf("ECG %s: %s: %w", r.uid, what, err))
		}
	}
	if err := shows(ctx, c.Box, fmt.Sprintf(`delivered %d\b`, len(c.all))); err != nil {
		wrong = append(wrong, err)
	}
	fmt.Fprintf(c.Out, "%d cuts of power, %d ECGs acknowledged\n", cuts, len(c.all))
	for _, f := range []fault{missing, twice, stranger, altered} {
		fmt.Fprintf(c.Out, "%14s %d\n", f, count[f])
	}
	return errors.Join(wrong...)
}

// A fault is what can become of an acknowledged ECG, and must not.
type fault string

const (
	missing  fault = "missing"
	twice    fault = "sent twice"
	stranger fault = "wrong patient"
	altered  fault = "altered"
)

// there looks for one in the hospital, to which it came so many times: Orthanc makes
// one of two that are alike, so what it has does not tell.
func (c *chaos) there(ctx context.Context, r *recording, times int) (fault, error) {
	found, err := c.hospital(ctx, http.MethodPost, "/tools/find", fmt.Sprintf(`{"Level":"Instance","Query":{"SOPInstanceUID":%q}}`, r.uid))
	if err != nil {
		return missing, err
	}
	var ids []string
	if err := json.Unmarshal(found, &ids); err != nil {
		return missing, fmt.Errorf("ask the hospital: %w", err)
	}
	switch {
	case len(ids) == 0:
		return missing, errors.New("acknowledged, and not in the hospital")
	case len(ids) > 1 || times != 1:
		return twice, fmt.Errorf("%d in the hospital, to which it came %d times, want once", len(ids), times)
	}
	stored, err := c.hospital(ctx, http.MethodGet, "/instances/"+ids[0]+"/file", "")
	if err != nil {
		return missing, err
	}
	set, err := parse(stored)
	if err != nil {
		return altered, err
	}
	if patient, err := text(set, tag.PatientID); err != nil || patient != r.patient {
		return stranger, fmt.Errorf("got patient %q, want %q: %v", patient, r.patient, err)
	}
	return altered, sameECG(r.body, stored)
}

package cache

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/syncd/disk/crashdisk"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/vault"
)

const crashSegment = 24 << 10

// A ward is what a cache on a bad disk must not mix up: some patients' records, of
// which the first patient's are needed.
type ward struct {
	dice   *rand.Rand
	dir    string
	domain *vault.Domain
	disk   *crashdisk.Disk
	n      int
	sure   map[string]string          // last body that Put returned for; "": Drop did
	maybe  map[string]map[string]bool // bodies tried since
}

func newWard(t *testing.T, v *vault.Vault, seed uint64) *ward {
	d := crashdisk.New()
	d.Room = 8 * crashSegment
	return &ward{dice: rand.New(rand.NewPCG(seed, 3)), dir: memoryDir(t), domain: v.Domain("ehr-cache"), disk: d, sure: map[string]string{}, maybe: map[string]map[string]bool{}}
}

func (w *ward) open() (*Cache, error) {
	c, err := Open(Options{
		Dir: w.dir, Bytes: 7 * crashSegment, Domain: w.domain, SegmentSize: crashSegment, FS: w.disk,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), background: func(f func()) { f() },
	})
	if err == nil {
		c.Keep(func(_ string, p fhir.Ref) bool { return p.ID == "0" })
	}
	return c, err
}

// body is a record of a patient, unlike any other.
func (w *ward) body(key, patient string) string {
	w.n++
	typ, id := cut(key)
	if typ == "Patient" {
		return fmt.Sprintf(`{"resourceType":"Patient","id":%q,"name":[{"family":"F%s"}],"n":%d}`, id, patient, w.n)
	}
	return fmt.Sprintf(`{"resourceType":"Observation","id":%q,"subject":{"reference":"Patient/%s"},"n":%d,"pad":%q}`, id, patient, w.n, strings.Repeat("x", w.dice.IntN(900)))
}

// live is one life of the box, until its power goes or it has done enough.
func (w *ward) live(c *Cache, steps int) error {
	for range steps {
		var all []Keyed
		for range 1 + w.dice.IntN(4) {
			patient := fmt.Sprint(w.dice.IntN(4))
			key := "Patient/" + patient
			if n := w.dice.IntN(12); n > 0 {
				key = fmt.Sprintf("Observation/o%s-%d", patient, n)
			}
			all = append(all, Keyed{key, fhir.Answer{Body: []byte(w.body(key, patient)), At: time.Now(), Policy: fhir.Policy{MaxAge: -1}}})
		}
		var err error
		if w.dice.IntN(8) == 0 {
			all = []Keyed{{Key: all[0].Key}}
			w.try(all)
			err = c.Drop(all[0].Key)
		} else {
			w.try(all)
			err = c.PutAll(all)
		}
		if errors.Is(err, crashdisk.ErrPower) || w.disk.Off() {
			return nil
		}
		if err == nil {
			for _, k := range all {
				w.sure[k.Key], w.maybe[k.Key] = string(k.Answer.Body), nil
			}
		}
		if w.dice.IntN(6) == 0 {
			_ = c.flush() // the index lies on another disk here, see reboot
		}
	}
	return nil
}

func (w *ward) try(all []Keyed) {
	for _, k := range all {
		if w.maybe[k.Key] == nil {
			w.maybe[k.Key] = map[string]bool{}
		}
		w.maybe[k.Key][string(k.Answer.Body)] = true
	}
}

// check compares everything there is with what was promised.
func (w *ward) check(c *Cache) error {
	for key, sure := range w.sure {
		a, ok, err := c.Get(key)
		got := string(a.Body)
		needed := strings.HasPrefix(key, "Patient/0") || strings.HasPrefix(key, "Observation/o0")
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", key, err)
		case !ok && needed && sure != "" && !w.maybe[key][""]:
			return fmt.Errorf("%s was needed and is gone", key)
		case ok && got != sure && !w.maybe[key][got]:
			return fmt.Errorf("%s is %.60q, want %.60q", key, got, sure)
		}
	}
	for p := range 4 {
		patient := fhir.Ref{Type: "Patient", ID: fmt.Sprint(p)}
		in := map[string]bool{}
		_, err := c.List(fhir.Filed(patient, "Observation"), func(f Found) {
			in[f.Ref.Key()] = f.Facets.Patient == patient && strings.Contains(string(f.Body), `"Patient/`+patient.ID+`"`)
		})
		if err != nil {
			return err
		}
		for key, own := range in {
			if !own {
				return fmt.Errorf("%s is in the list of %s", key, patient)
			}
		}
		for n := 1; n < 12; n++ {
			key := fmt.Sprintf("Observation/o%d-%d", p, n)
			if _, ok, _ := c.Get(key); ok != in[key] {
				return fmt.Errorf("%s: kept %v, in its list %v", key, ok, in[key])
			}
		}
	}
	return nil
}

// Every step of the disk fails, fails but is done, or is the last before the power
// goes: what comes back is no damaged record, no other patient's, and all that was
// needed.
func TestCrashAtEveryStep(t *testing.T) {
	v, err := vault.Open(filepath.Join(t.TempDir(), "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	total := func() int {
		w := newWard(t, v, 1)
		c, err := w.open()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.live(c, 60); err != nil {
			t.Fatal(err)
		}
		if err := w.check(c); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		return w.disk.Steps()
	}()
	if total < 100 {
		t.Fatalf("%d steps are no test", total)
	}
	for i, fault := range crashdisk.Faults() {
		for at := 1 + i; at <= total; at += 9 { // each step meets one fault or another
			w := newWard(t, v, 1)
			w.disk.At, w.disk.Fault = at, fault
			c, err := w.open()
			if err == nil {
				err = w.live(c, 60)
				_ = c.Close()
			}
			if err != nil && !w.disk.Off() && !errors.Is(err, crashdisk.ErrIO) {
				t.Fatalf("step %d, %v: %v", at, fault, err)
			}
			if err := w.reboot(); err != nil {
				t.Fatalf("step %d, %v: %v", at, fault, err)
			}
		}
	}
}

// reboot starts over on what the disk kept, with the index as it was or without.
func (w *ward) reboot() error {
	w.disk = w.disk.Reboot(w.dice)
	if w.dice.IntN(3) == 0 {
		if err := os.Remove(filepath.Join(w.dir, "index.db")); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	for range 2 {
		c, err := w.open()
		if err != nil {
			return fmt.Errorf("reopen: %w", err)
		}
		if err := w.check(c); err != nil {
			return err
		}
		if err := w.live(c, 5); err != nil {
			return err
		}
		if err := w.check(c); err != nil {
			return fmt.Errorf("after more work: %w", err)
		}
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

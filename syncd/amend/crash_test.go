package amend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"clinicgate/syncd/disk/crashdisk"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/pending"
	"clinicgate/syncd/vault"
)

// A shift is what doctors did while the disk, the line and the EHR fail around them: what
// each of them was promised.
type shift struct {
	*ward
	dice  *rand.Rand
	disk  *crashdisk.Disk
	taken []string            // words of new resources that were taken, in order
	told  map[string]fhir.Ref // and the ids they were given
	tried map[string]bool     // words that were not, or nobody knows
	last  string              // word that o1 was last changed to, with success
}

// work does some things, as they come. It ends when the disk fails.
func (s *shift) work(steps int) {
	for n := range steps {
		s.ehr.cut = s.dice.IntN(3) == 0
		s.ehr.lose = s.dice.IntN(2)
		word := fmt.Sprintf("w%d-%d", len(s.tried), n)
		s.tried[word] = true
		e := pending.Edit{ID: pending.UUID(digest(word)), When: time.Now().UTC(), Patient: fhir.Ref{Type: "Patient", ID: "ana"}, Author: pending.Author{Who: "Practitioner/eva"}}
		ref := fhir.Ref{Type: "Observation", ID: pending.UUID(digest("id" + word))}
		e.Changes = []pending.Change{{Ref: ref, New: true, Body: []byte(resource(ref, word, ""))}}
		if _, err := s.desk.Make(context.Background(), e); err == nil {
			s.taken, s.told[word] = append(s.taken, word), ref
		}
		if s.dice.IntN(2) == 0 {
			s.change(n)
		}
		if s.dice.IntN(3) == 0 {
			s.desk.Nudge()
			s.desk.round(context.Background())
		}
	}
}

// change changes o1 from what the doctor sees.
func (s *shift) change(n int) {
	o1 := fhir.Ref{Type: "Observation", ID: "o1"}
	res, err := s.reader.Current(context.Background(), o1)
	if err != nil {
		return
	}
	word := fmt.Sprintf("c%d-%d", len(s.tried), n)
	s.tried[word] = true
	e := pending.Edit{ID: pending.UUID(digest(word)), When: time.Now().UTC(), Patient: fhir.Ref{Type: "Patient", ID: "ana"}, Author: pending.Author{Who: "Practitioner/eva"}}
	e.Changes = []pending.Change{{Ref: o1, Base: fhir.VersionOf(res.ETag), Body: []byte(resource(o1, word, ""))}}
	if out, err := s.desk.Make(context.Background(), e); err == nil && out.Edit.State != pending.Refused {
		s.last = word
	}
}

// check holds the EHR against what was promised, once all has been delivered.
func (s *shift) check() error {
	count, at := map[string]int{}, map[string]int{}
	for ref, versions := range s.ehr.versions {
		if ref.Type == "Task" {
			return errors.New("a clash, with nobody to clash with")
		}
		for _, v := range versions {
			count[text([]byte(v))]++
		}
	}
	for i, line := range s.ehr.log {
		name, v, _ := strings.Cut(line, " v")
		typ, id, _ := strings.Cut(name, "/")
		n := int(v[0] - '0')
		if all := s.ehr.versions[fhir.Ref{Type: typ, ID: id}]; n <= len(all) && len(v) == 1 {
			at[text([]byte(all[n-1]))] = i
		}
	}
	for word, n := range count {
		if n > 1 {
			return fmt.Errorf("%s was made %d times", word, n)
		}
	}
	for i, word := range s.taken {
		if count[word] != 1 {
			return fmt.Errorf("%s was taken and is there %d times", word, count[word])
		}
		if i > 0 && at[word] < at[s.taken[i-1]] {
			return fmt.Errorf("%s came before %s", word, s.taken[i-1])
		}
		res, err := s.reader.Read(context.Background(), s.told[word])
		if err != nil || text(res.Body) != word {
			return fmt.Errorf("%s by its first id: %s, %w", word, res.Body, err)
		}
	}
	if s.last != "" {
		if now := text([]byte(s.ehr.now(fhir.Ref{Type: "Observation", ID: "o1"}))); now != s.last && !s.tried[now] {
			return fmt.Errorf("o1 is %s, want %s", now, s.last)
		}
	}
	return nil
}

func newShift(t *testing.T, v *vault.Vault, seed uint64) *shift {
	t.Helper()
	s := &shift{dice: rand.New(rand.NewPCG(seed, 2)), disk: crashdisk.New(), told: map[string]fhir.Ref{}, tried: map[string]bool{}}
	s.ward = &ward{t: t, ehr: newHospital(), vault: v, dir: memory(t), fs: s.disk, names: map[string]fhir.Ref{}, tags: map[string]string{}}
	t.Cleanup(s.stop)
	for _, name := range []string{"Patient/ana", "Observation/o1"} {
		s.ehr.put(s.ref(name), resource(s.ref(name), "first-"+name, ""))
	}
	return s
}

// Every step of the disk fails, fails but is done, or is the last before the power goes,
// while the line comes and goes and answers are lost: whatever a doctor was promised is at
// the EHR, once, in order, and by the name it was promised under.
func TestCrashAtEveryStep(t *testing.T) {
	const steps = 6
	v, err := vault.Open(filepath.Join(t.TempDir(), "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	total := func() int {
		s := newShift(t, v, 1)
		if err := s.boot(); err != nil {
			t.Fatal(err)
		}
		s.work(steps)
		return s.disk.Steps()
	}()
	if total < 30 {
		t.Fatalf("%d steps are no test", total)
	}
	for i, fault := range crashdisk.Faults() {
		for at := 1 + i; at <= total; at += len(crashdisk.Faults()) { // each step meets one fault or another
			s := newShift(t, v, uint64(at))
			s.disk.At, s.disk.Fault = at, fault
			if err := s.boot(); err == nil {
				s.work(steps)
			}
			if err := s.reboot(); err != nil {
				t.Fatalf("step %d, %v: %v", at, fault, err)
			}
			s.stop()
		}
	}
}

// reboot starts over on what the disk kept, and delivers.
func (s *shift) reboot() error {
	if s.journal != nil {
		_ = s.journal.Close()
	}
	s.disk = s.disk.Reboot(s.dice)
	s.fs = s.disk
	if err := s.boot(); err != nil {
		return fmt.Errorf("reopen: %w", err)
	}
	s.ehr.cut, s.ehr.lose = false, 0
	s.desk.Nudge()
	s.desk.round(context.Background())
	if c := s.desk.Count(); c.Waiting > 0 || c.Clashes > 0 {
		return fmt.Errorf("after delivery %+v: %v", c, s.ehr.log)
	}
	if err := s.check(); err != nil {
		return fmt.Errorf("%w; made %v", err, slices.Clone(s.ehr.log))
	}
	return nil
}

// memory is a folder whose syncs cost nothing: only the journal's disk fails here.
func memory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "clinicgate-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

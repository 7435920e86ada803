package amend

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"clinicgate/syncd/cache"
	"clinicgate/syncd/disk"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/pending"
	"clinicgate/syncd/pending/journal"
	"clinicgate/syncd/trail"
	"clinicgate/syncd/vault"
)

// A ward is a clinic and a hospital for a script: what doctors do, what others do at
// the hospital, and what each of them sees.
type ward struct {
	t     *testing.T
	ehr   *hospital
	vault *vault.Vault
	dir   string
	fs    disk.FS // nil: a folder

	journal *journal.Journal
	cache   *cache.Cache
	desk    *Desk
	reader  *cache.Reader
	names   map[string]fhir.Ref // what the script calls a resource that was made here
	tags    map[string]string   // and the version its doctor has seen
	trail   []trail.Entry
}

func (w *ward) Append(e trail.Entry) error { w.trail = append(w.trail, e); return nil }

func newWard(t *testing.T) *ward {
	t.Helper()
	v, err := vault.Open(filepath.Join(t.TempDir(), "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	w := &ward{t: t, ehr: newHospital(), vault: v, dir: t.TempDir(), names: map[string]fhir.Ref{}, tags: map[string]string{}}
	if err := w.boot(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.stop)
	return w
}

// boot opens what the disk has.
func (w *ward) boot() (err error) {
	book := pending.NewBook("")
	w.journal, err = journal.Open(journal.Options{
		Dir: filepath.Join(w.dir, "edits"), Domain: w.vault.Domain("edits"), FS: w.fs, SegmentSize: 64 << 10, Background: func(f func()) { f() },
	}, book.Put)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if w.cache == nil {
		w.cache, err = cache.Open(cache.Options{Dir: filepath.Join(w.dir, "cache"), Bytes: 16 << 20, Domain: w.vault.Domain("ehr-cache"), Log: log})
		if err != nil {
			return err
		}
	}
	w.reader = &cache.Reader{Cache: w.cache, Source: w.ehr, Log: log}
	w.desk = New(Options{Book: book, Journal: w.journal, EHR: w.ehr, Trail: w, Log: log, Wrote: w.reader.Wrote})
	w.reader.Pending = w.desk
	return nil
}

func (w *ward) stop() {
	if w.journal != nil {
		_ = w.journal.Close()
	}
	if w.cache != nil {
		_ = w.cache.Close()
	}
	w.journal, w.cache = nil, nil
}

// TestScripts plays testdata/*.txt: who does what, and behind = what must come of it.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			w := newWard(t)
			lines := bufio.NewScanner(f)
			for n := 1; lines.Scan(); n++ {
				text, _, _ := strings.Cut(lines.Text(), "#")
				command, want, _ := strings.Cut(text, " = ")
				words := strings.Fields(command)
				if len(words) == 0 {
					continue
				}
				if got := w.play(words); got != strings.TrimSpace(want) {
					t.Fatalf("%s:%d: %s: got %q, want %q", path, n, strings.TrimSpace(command), got, strings.TrimSpace(want))
				}
			}
		})
	}
}

func (w *ward) play(words []string) string {
	switch words[0] {
	case "hospital":
		return w.hospital(words[1:])
	case "doctor":
		return w.doctor(words[1:])
	case "line":
		w.ehr.cut = words[1] == "cut"
		return ""
	case "deliver":
		w.desk.Nudge()
		w.desk.round(context.Background())
		return w.count()
	case "power": // off and on
		_ = w.journal.Close()
		if err := w.boot(); err != nil {
			return err.Error()
		}
		return w.count()
	case "clinic":
		return w.sees(words[2:], w.reader.Read)
	case "trail":
		last := w.trail[len(w.trail)-1]
		return last.Action + " " + last.Outcome
	}
	return "no such word: " + words[0]
}

func (w *ward) count() string {
	c := w.desk.Count()
	return fmt.Sprintf("%d waiting, %d clashed", c.Waiting, c.Clashes)
}

// hospital: what happens there.
func (w *ward) hospital(words []string) string {
	switch words[0] {
	case "writes": // another doctor, there
		w.ehr.put(w.ref(words[1]), resource(w.ref(words[1]), words[2], ""))
		return ""
	case "has":
		return w.has(words[1])
	case "made":
		return strings.Join(w.ehr.log, ", ")
	case "loses":
		w.ehr.lose, _ = strconv.Atoi(words[1])
	case "answers":
		w.ehr.status, _ = strconv.Atoi(words[1])
	case "refuses":
		w.ehr.refuses = words[1]
	}
	return ""
}

func (w *ward) has(name string) string {
	if typ, ok := strings.CutPrefix(name, "all:"); ok {
		n := 0
		for ref := range w.ehr.versions {
			if ref.Type == typ {
				n++
			}
		}
		return strconv.Itoa(n)
	}
	if name == "tasks" {
		return w.tasks()
	}
	ref := w.desk.Now(w.ref(name))
	return text([]byte(w.ehr.now(ref)))
}

// tasks are the Tasks there, with the versions in them.
func (w *ward) tasks() string {
	var out []string
	for ref := range w.ehr.versions {
		var task struct {
			Status string
			For    struct{ Reference string }
			Owner  struct{ Identifier struct{ Value string } }
			Input  []struct {
				Type            struct{ Coding []struct{ Code string } }
				ValueAttachment struct{ Data string }
			}
		}
		if ref.Type != "Task" || json.Unmarshal([]byte(w.ehr.now(ref)), &task) != nil {
			continue
		}
		line := cmp.Or(task.For.Reference, "nobody") + " for " + task.Owner.Identifier.Value
		for _, in := range task.Input {
			data, _ := base64.StdEncoding.DecodeString(in.ValueAttachment.Data)
			line += " " + in.Type.Coding[0].Code + " " + text(data)
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

// ref is what a script means: a name it gave, or Type/id.
func (w *ward) ref(name string) fhir.Ref {
	if ref, ok := w.names[name]; ok {
		return ref
	}
	typ, id, _ := strings.Cut(name, "/")
	return fhir.Ref{Type: typ, ID: id}
}

// resource is one of a patient, with a word in it and a reference if wanted.
func resource(ref fhir.Ref, word, to string) string {
	if ref.Type == "Patient" {
		return fmt.Sprintf(`{"resourceType":"Patient","id":"%s","name":[{"family":"%s"}]}`, ref.ID, word)
	}
	refers := ""
	if to != "" {
		refers = `,"hasMember":[{"reference":"` + to + `"}]`
	}
	return fmt.Sprintf(`{"resourceType":"%s","id":"%s","status":"final","code":{"text":"%s"},"subject":{"reference":"Patient/ana"}%s}`, ref.Type, ref.ID, word, refers)
}

// text is the word in a resource.
func text(body []byte) string {
	var r struct {
		Code struct{ Text string }
		Name []struct{ Family string }
	}
	if json.Unmarshal(body, &r) != nil {
		return "nothing"
	}
	if len(r.Name) > 0 {
		return r.Name[0].Family
	}
	return r.Code.Text
}

// sees says what a reader is shown: the word, and how it stands.
func (w *ward) sees(words []string, read func(context.Context, fhir.Query) (cache.Result, error)) string {
	if words[0] == "list" {
		s, err := fhir.ParseSearch(words[1], strings.Join(words[2:], "&"))
		if err != nil {
			return err.Error()
		}
		res, err := read(context.Background(), s)
		if err != nil {
			return said(err)
		}
		var all []string
		bodies, _ := fhir.Resources(res.Body)
		for _, b := range bodies {
			all = append(all, mark(b))
		}
		if len(s.Sort) == 0 {
			slices.Sort(all)
		}
		if res.Partial != "" {
			all = append(all, "(partial)")
		}
		return strings.Join(all, " ")
	}
	ref := w.ref(words[0])
	res, err := read(context.Background(), ref)
	if err != nil {
		return said(err)
	}
	w.tags[words[0]] = fhir.VersionOf(res.ETag)
	return mark(res.Body)
}

func mark(body []byte) string {
	if strings.Contains(string(body), pending.PendingSystem) {
		return text(body) + "*"
	}
	return text(body)
}

func said(err error) string {
	var no *fhir.Refusal
	if errors.As(err, &no) {
		return fmt.Sprint(no.Status)
	}
	if errors.Is(err, fhir.ErrUnreachable) {
		return "unreachable"
	}
	return err.Error()
}

// doctor: makes NAME Type word [refers NAME] [key K]; changes NAME word; hides NAME;
// both together: begins, then what, then ends.
func (w *ward) doctor(words []string) string {
	e := pending.Edit{
		ID: pending.UUID(digest(fmt.Sprint(len(w.names), words, time.Now()))), When: time.Now().UTC(), Patient: fhir.Ref{Type: "Patient", ID: "ana"},
		Author: pending.Author{Who: "Practitioner/eva", Session: "s"},
	}
	for part := range strings.SplitSeq(strings.Join(words, " "), " and ") {
		if err := w.adds(&e, strings.Fields(part)); err != nil {
			return err.Error()
		}
	}
	out, err := w.desk.Make(context.Background(), e)
	if err != nil {
		return said(err)
	}
	return string(out.Edit.State)
}

func digest(s string) []byte { sum := sha256.Sum256([]byte(s)); return sum[:] }

func (w *ward) adds(e *pending.Edit, words []string) error {
	i := len(e.Changes)
	c := pending.Change{}
	switch words[0] {
	case "makes":
		c.New = true
		to := ""
		for n := 4; n+1 < len(words); n += 2 {
			switch words[n] {
			case "refers":
				to = w.ref(words[n+1]).String()
			case "key":
				if i == 0 {
					e.ID = pending.UUID(digest(words[n+1]))
				}
			case "unless":
				c.NoneExist = "identifier=" + words[n+1]
			}
		}
		c.Ref = fhir.Ref{Type: words[2], ID: pending.UUID(digest("id" + e.Mark(i)))}
		c.Body = []byte(resource(c.Ref, words[3], to))
		w.names[words[1]] = c.Ref
		if c.Ref.Type == "Patient" {
			e.Patient = c.Ref
		}
	case "changes", "hides", "closes":
		c.Ref, c.Base, c.Hide = w.desk.Now(w.ref(words[1])), w.tags[words[1]], words[0] == "hides"
		body := resource(c.Ref, strings.Join(words[2:], " "), "")
		if c.Hide {
			res, err := w.reader.Current(context.Background(), c.Ref)
			if err != nil {
				return err
			}
			body = string(res.Body)
		}
		c.Closes = words[0] == "closes"
		c.Body = []byte(body)
	}
	var err error
	c.Body, err = pending.Plain(c.Body, "")
	e.Changes = append(e.Changes, c)
	return err
}

package census

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// name spreads items of scripts over the buckets as keyed digests are.
func name(s string) (n Name) {
	for i := range n {
		n[i] = byte(len(s)*31+i) ^ s[i%len(s)]*byte(17+i)
	}
	return n
}

type box map[string]uint64 // item → rank

func (b box) rows() (rows []Row) {
	for k, rank := range b {
		rows = append(rows, Row{Name: name(k), Rank: rank})
	}
	return rows
}

func (b box) String() string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(b)) {
		all = append(all, fmt.Sprintf("%s:%d", k, b[k]))
	}
	return strings.Join(all, " ")
}

// tell is one direction: from tells to what to lacks. It returns what was said.
func tell(t *testing.T, from, to box) (said []string) {
	t.Helper()
	sent := Count(from.rows())
	d, err := ReadDigest(sent.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	answer := Answer(d, to.rows())
	list, err := ReadList(answer.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	byName := map[Name]string{}
	for k := range from {
		byName[name(k)] = k
	}
	for _, l := range Lacks(list.Which, from.rows(), list.Rows) {
		k := byName[l.Name]
		what := "mark"
		if l.Whole {
			what = "item"
		}
		said = append(said, what+" "+k)
		to[k] = max(to[k], from[k])
	}
	slices.Sort(said)
	return said
}

// The scripts say what two boxes know, and what must be told each way.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatal(err, len(files))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		boxes := map[string]box{}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for n := 1; lines.Scan(); n++ {
			line, _, _ := strings.Cut(lines.Text(), "#")
			f := strings.Fields(line)
			at := fmt.Sprintf("%s:%d", file, n)
			switch {
			case len(f) == 0:
			case f[0] == "knows": // knows BOX item:rank ...
				boxes[f[1]] = box{}
				for _, item := range f[2:] {
					k, rank, _ := strings.Cut(item, ":")
					if boxes[f[1]][k], err = strconv.ParseUint(rank, 10, 64); err != nil {
						t.Fatal(at, err)
					}
				}
			case f[0] == "tells": // tells FROM TO: item k, mark k, ...
				_, want, _ := strings.Cut(line, ":")
				got := strings.Join(tell(t, boxes[f[1]], boxes[strings.TrimSuffix(f[2], ":")]), ", ")
				if got != strings.TrimSpace(want) {
					t.Errorf("%s: got %q, want %q", at, got, strings.TrimSpace(want))
				}
			case f[0] == "has": // has BOX item:rank ...
				if got, want := boxes[f[1]].String(), strings.Join(f[2:], " "); got != want {
					t.Errorf("%s: got %q, want %q", at, got, want)
				}
			default:
				t.Fatalf("%s: %q", at, line)
			}
		}
	}
}

// Whatever two boxes know, one round each way leaves them the same, nothing is ever
// less known than before, and a second round says nothing.
func TestMeet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ranks := rapid.MapOf(rapid.StringMatching(`[a-z]{1,6}`), rapid.Uint64Range(0, 6))
		a, b := box(ranks.Draw(rt, "a")), box(ranks.Draw(rt, "b"))
		want := maps.Clone(a)
		for k, rank := range b {
			want[k] = max(want[k], rank)
		}
		tell(t, a, b)
		tell(t, b, a)
		if !maps.Equal(a, want) || !maps.Equal(b, want) {
			rt.Fatalf("got %v and %v, want %v", a, b, want)
		}
		if said := append(tell(t, a, b), tell(t, b, a)...); len(said) > 0 {
			rt.Fatalf("said again: %v", said)
		}
	})
}

// A pair that agrees sends 2 KiB; what one item costs is its bucket, not the queue.
func TestOneBucket(t *testing.T) {
	a, b := box{}, box{}
	for i := range 20_000 {
		a[fmt.Sprint("item ", i)] = 0
	}
	maps.Copy(b, a)
	a["new"] = 0
	answer := Answer(Count(a.rows()), b.rows())
	n := 0
	for _, set := range answer.Which {
		if set {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d buckets differ by one item", n)
	}
}

func TestDelivers(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		since   time.Duration // ago
		standby bool
		other   Other
		want    bool
	}{
		"alone":                                {time.Hour, false, Other{}, true},
		"master, the other stands by":          {time.Hour, false, Other{Alive: true}, true},
		"stands by":                            {time.Hour, true, Other{Alive: true}, false},
		"stands by, the other is not heard":    {time.Hour, true, Other{}, false},
		"took over, the other still sends":     {time.Second, false, Other{Alive: true, Flight: 1}, false},
		"took over, the other died sending":    {time.Second, false, Other{Flight: 1}, true},
		"took over, the other's attempt hangs": {time.Minute, false, Other{Alive: true, Flight: 1}, true},
	} {
		if got := Delivers(now, now.Add(-c.since), c.standby, c.other); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	d := Count([]Row{{Name: Name{1}, Rank: 3}})
	f.Add(d.Append(nil))
	l := Answer(d, []Row{{Name: Name{1}, Rank: 2}, {Name: Name{1, 2}}})
	f.Add(l.Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := ReadDigest(b); err == nil && !bytes.Equal(d.Append(nil), b) {
			t.Error("a digest is not what was read")
		} else if err != nil && !errors.Is(err, ErrForm) {
			t.Error(err)
		}
		l, err := ReadList(b)
		if err == nil && !bytes.Equal(l.Append(nil), b) {
			t.Error("a list is not what was read")
		}
	})
}

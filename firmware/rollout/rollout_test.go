package rollout

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func box(n int, runs string, refused ...Failure) Report {
	return Report{V: 1, Code: fmt.Sprintf("ES-VA-%03d", n), Board: "qemu-x86_64", Ring: "all", Runs: runs, Refused: refused}
}

func TestHalt(t *testing.T) {
	bad := Failure{"1.5.0", "does not bring up syncd: backoff"}
	well := func(n int) (all []Report) {
		for i := range n {
			all = append(all, box(100+i, "1.5.0"))
		}
		return all
	}
	for _, c := range []struct {
		name    string
		reports []Report
		limit   Limit
		want    string
	}{
		{"nobody has said anything", nil, Limit{2, 10}, ""},
		{"one box failed: it may be the box", []Report{box(1, "1.4.0", bad)}, Limit{2, 10}, ""},
		{"one is enough if told so", []Report{box(1, "1.4.0", bad)}, Limit{1, 10}, "failed on 1 of 1 boxes; ES-VA-001: does not bring up syncd: backoff"},
		{"two of two", []Report{box(2, "1.4.0", bad), box(1, "1.4.0", bad)}, Limit{2, 10}, "failed on 2 of 2 boxes; ES-VA-001: does not bring up syncd: backoff; ES-VA-002: does not bring up syncd: backoff"},
		{"two of forty are too few", append(well(38), box(1, "1.4.0", bad), box(2, "1.4.0", bad)), Limit{2, 10}, ""},
		{"four of forty are a tenth", append(well(36), box(1, "1", bad), box(2, "1", bad), box(3, "1", bad), box(4, "1", bad)), Limit{2, 10}, "failed on 4 of 40"},
		{"an older release's failures", []Report{box(1, "1.4.0", Failure{"1.3.9", "x"}), box(2, "1.4.0", Failure{"1.3.9", "x"})}, Limit{2, 10}, ""},
		{"it failed once and runs now", []Report{box(1, "1.5.0", bad), box(2, "1.5.0", bad)}, Limit{2, 10}, ""},
		{"another ring's", []Report{{Board: "qemu-x86_64", Ring: "early", Refused: []Failure{bad}}, {Board: "other", Ring: "all", Refused: []Failure{bad}}}, Limit{1, 0}, ""},
	} {
		got := c.limit.Halt(Tally(c.reports, "qemu-x86_64", "all", "1.5.0"))
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	good := box(1, "1.4.0", Failure{"1.5.0", "has netd end\x1b[2J " + strings.Repeat("x", 500)})
	good.Trial = "1.6.0"
	text, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(text)
	if err != nil || r.Trial != "1.6.0" || len(r.Refused[0].Why) != maxWhy || strings.ContainsRune(r.Refused[0].Why, '\x1b') {
		t.Errorf("got %+v, %v", r, err)
	}
	for _, edit := range []func(*Report){
		func(r *Report) { r.V = 2 },
		func(r *Report) { r.Code = "../../x" },
		func(r *Report) { r.Ring = "" },
		func(r *Report) { r.Trial = "a b" },
		func(r *Report) { r.Refused[0].Version = "" },
		func(r *Report) { r.Refused = make([]Failure, maxRefused+1) },
	} {
		r := box(1, "1.4.0", Failure{"1.5.0", "x"})
		edit(&r)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(text); err == nil {
			t.Errorf("%s: taken as %+v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"v":1,"code":"a","board":"b","ring":"all","runs":"1.0","refused":[{"version":"2","why":"x"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err == nil && (r.Code == "" || len(r.Refused) > maxRefused) {
			t.Errorf("taken: %+v", r)
		}
	})
}

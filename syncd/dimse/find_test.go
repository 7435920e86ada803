package dimse

import (
	"strings"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/syncd/worklist"
)

// orders is a worklist of what the test says.
type orders []worklist.Entry

func (o orders) Find(q worklist.Query) ([]worklist.Entry, bool) { return worklist.Find(o, q) }

// dcmtk's findscu asks in both syntaxes and gets what it asked for.
func TestWorklistSCU(t *testing.T) {
	lab.Require(t, lab.Program("findscu"))
	all := orders{
		{Name: "Müller^Anna", ID: "4711", Birth: "19700203", Sex: "F", Study: "2.25.1", Accession: "A1", Modality: "ECG", Date: "20261122", Time: "0930", Step: "S1"},
		{Name: "Иванов^Пётр", ID: "4712", Study: "2.25.2", Accession: "A2", Modality: "US", Date: "20261122", Step: "S2"},
	}
	n := start(t, func(o *Options) { o.Worklist = all })
	keys := []string{"-W", "-k", "0010,0010", "-k", "0010,0020", "-k", "0010,0030", "-k", "0020,000D", "-k", "0008,0050"}
	step := "(0040,0100)[0]."
	for name, c := range map[string]struct {
		more []string
		want []string
		not  string
	}{
		"an ECG cart": {[]string{"-k", step + "0008,0060=ECG", "-k", step + "0040,0002=20261122", "-k", step + "0040,0001=ECGCART"},
			[]string{"[4711]", "[A1]", "2.25.1", "ISO_IR 100", "20261122", "ECGCART"}, "[4712]"},
		"explicit VR": {[]string{"-xe", "-k", step + "0008,0060=US"}, []string{"[4712]", "ISO_IR 192"}, "[4711]"},
		"by name":     {[]string{"-k", "0010,0010=M*", "-k", step + "0008,0060"}, []string{"[4711]", "ECG"}, "[4712]"},
		"nobody":      {[]string{"-k", step + "0008,0060=CT"}, []string{"Final"}, "[4711]"},
	} {
		at := with(titles, append(keys[:len(keys):len(keys)], c.more...)...)
		for i, a := range at { // given twice, the last counts for findscu; leave the first out
			if a == "0010,0010" && strings.Contains(strings.Join(c.more, " "), "0010,0010=") {
				at[i] = "0010,0040"
			}
		}
		out, err := n.run(t, "findscu", at...)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		for _, w := range c.want {
			if !strings.Contains(strings.ReplaceAll(out, " ]", "]"), w) {
				t.Errorf("%s: no %q in\n%s", name, w, out)
			}
		}
		answers := out[strings.Index(out, "Find Response"):]
		if strings.Contains(strings.ReplaceAll(answers, " ]", "]"), c.not) {
			t.Errorf("%s: %q in\n%s", name, c.not, out)
		}
	}
	if log := n.log.String(); strings.Contains(log, "4711") || strings.Contains(log, "Anna") {
		t.Errorf("the log names patients:\n%s", log)
	}
}

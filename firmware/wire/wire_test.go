package wire

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Golden files are what other releases of the box will read: a change that
// breaks them breaks the pair during an update. Unknown fields in a golden file
// mean a type lost one.
func TestGolden(t *testing.T) {
	for name, into := range map[string]any{
		InitFile: &Init{}, NetFile: &Net{}, FailoverFile: &Failover{},
		CardFile: &Card{}, SyncFile: &Sync{},
	} {
		t.Run(name, func(t *testing.T) {
			golden, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			dec := json.NewDecoder(bytes.NewReader(golden))
			dec.DisallowUnknownFields()
			if err := dec.Decode(into); err != nil {
				t.Fatalf("decode %s: %v", name, err)
			}
			got, err := json.MarshalIndent(into, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			if want := bytes.TrimSpace(golden); !bytes.Equal(got, want) {
				t.Errorf("%s does not survive a round trip\ngot:\n%s\nwant:\n%s", name, got, want)
			}
		})
	}
}

// A box stands by when another one serves: backup somewhere, master nowhere.
func TestStandby(t *testing.T) {
	for _, c := range []struct {
		roles []string
		want  bool
	}{
		{nil, false}, {[]string{RoleMaster}, false}, {[]string{RoleInit}, false}, {[]string{RoleBackup}, true},
		{[]string{RoleBackup, RoleInit}, true}, {[]string{RoleBackup, RoleMaster}, false},
	} {
		f := &Failover{}
		for _, r := range c.roles {
			f.Groups = append(f.Groups, Group{Role: r})
		}
		if got := f.Standby(); got != c.want {
			t.Errorf("%v: got %v", c.roles, got)
		}
	}
	if (*Failover)(nil).Standby() {
		t.Error("a box that says nothing stands by")
	}
}

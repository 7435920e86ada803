package blockdev

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
)

const espGUID = "8d3d53e3-6d49-4c38-8349-aff6859e82fd"

// disk is one that sgdisk made, which nobody here wrote.
func disk(t *testing.T) string {
	t.Helper()
	lab.Require(t, lab.Program("sgdisk"))
	path := filepath.Join(t.TempDir(), "vda")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 64<<20); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sgdisk", "-n", "1:2048:+16M", "-u", "1:"+espGUID, "-n", "5:0:+8M", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func TestReadGPT(t *testing.T) {
	d, err := os.Open(disk(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	all, err := ReadGPT(d, 512)
	if err != nil || len(all) != 2 {
		t.Fatalf("got %+v, %v", all, err)
	}
	if want := (Entry{Number: 1, GUID: espGUID, Start: 2048, Size: 16 << 11}); all[0] != want {
		t.Errorf("got %+v, want %+v", all[0], want)
	}
	if all[1].Number != 5 || all[1].Size != 8<<11 {
		t.Errorf("got %+v", all[1])
	}
	if got, err := ReadGPT(d, 4096); err == nil {
		t.Errorf("a table looked for at the wrong place: %+v", got)
	}
}

func TestFindByGUID(t *testing.T) {
	image := disk(t)
	f := Finder{Sys: t.TempDir(), Dev: filepath.Dir(image)}
	vda := filepath.Join(f.Sys, "devices/vda")
	for path, text := range map[string]string{"queue/logical_block_size": "512\n", "vda1/partition": "1\n", "vda5/partition": "5\n"} {
		full := filepath.Join(vda, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	class := filepath.Join(f.Sys, "class/block")
	if err := os.MkdirAll(class, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"vda": vda, "vda1": vda + "/vda1", "vda5": vda + "/vda5"} {
		if err := os.Symlink(to, filepath.Join(class, name)); err != nil {
			t.Fatal(err)
		}
	}
	e, err := f.GUID(strings.ToUpper(espGUID))
	if err != nil || e.Name != filepath.Join(f.Dev, "vda1") || e.Number != 1 {
		t.Errorf("got %+v, %v", e, err)
	}
	if e, err := f.GUID("00000000-0000-0000-0000-000000000000"); err == nil {
		t.Errorf("an empty entry was found: %+v", e)
	}
}

func FuzzReadGPT(f *testing.F) {
	small := make([]byte, 4096)
	copy(small[512:], "EFI PART")
	small[512+72], small[512+80], small[512+84] = 2, 4, 128
	small[1024], small[1024+16] = 1, 7
	f.Add(small)
	f.Add(small[:600])
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ReadGPT(bytes.NewReader(data), 512)
		if err == nil && len(all) > maxEntries {
			t.Errorf("%d partitions", len(all))
		}
		for _, e := range all {
			if len(e.GUID) != 36 {
				t.Errorf("GUID %q", e.GUID)
			}
		}
	})
}

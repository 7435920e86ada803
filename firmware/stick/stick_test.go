package stick

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var owners = Owners{
	Site:     Owner{os.Getuid(), os.Getgid()},
	Programs: map[string]Owner{"netd": {os.Getuid(), os.Getgid()}, "cardauth": {os.Getuid(), os.Getgid()}},
}

// tree makes files in a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var clinic = map[string]string{
	"site.toml": "[site]\n", "anchors/devices.pem": "ca", "anchors/professionals.pem": "ca",
	"lists/professionals.crl": strings.Repeat("x", 2*maxFile),
	"secrets/netd/hub.key":    "k", "secrets/cardauth/tls.key": "k", "README.txt": "not ours",
}

// box is a data partition as init makes it.
func box(t *testing.T) string {
	t.Helper()
	return tree(t, map[string]string{"log/init.log": ""})
}

func TestImport(t *testing.T) {
	data := box(t)
	if err := os.MkdirAll(filepath.Join(data, "site"), 0o750); err != nil {
		t.Fatal(err)
	}
	if Imported(data) {
		t.Fatal("an empty folder counts as a site")
	}
	if err := Import(tree(t, clinic), data, owners); err != nil {
		t.Fatal(err)
	}
	if !Imported(data) {
		t.Fatal("the site is not there")
	}
	for name, want := range map[string]os.FileMode{
		"site": 0o750, "site/site.toml": 0o640, "site/anchors/devices.pem": 0o640,
		"site/lists": 0o750, "site/lists/professionals.crl": 0o640,
		"secrets": 0o711, "secrets/netd": 0o700, "secrets/netd/hub.key": 0o400, "secrets/cardauth/tls.key": 0o400,
	} {
		fi, err := os.Stat(filepath.Join(data, name))
		if err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", name, fi.Mode(), err, want)
		}
	}
	for _, name := range []string{".import", "README.txt", "site/README.txt"} {
		if _, err := os.Stat(filepath.Join(data, name)); err == nil {
			t.Errorf("%s is on the box", name)
		}
	}
}

func TestRefusals(t *testing.T) {
	many := map[string]string{"site.toml": ""}
	for i := range maxFiles {
		many["anchors/"+strings.Repeat("a", i/26+1)+string(rune('a'+i%26))] = ""
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no site file":    {map[string]string{"anchors/x.pem": ""}, "site.toml is missing"},
		"unknown program": {map[string]string{"site.toml": "", "secrets/netdd/x": ""}, "secrets/netdd: no program is called so"},
		"strange name":    {map[string]string{"site.toml": "", "anchors/a b": ""}, `anchors: got the name "a b"`},
		"folder in it":    {map[string]string{"site.toml": "", "anchors/x/y": ""}, "x: want a plain file"},
		"too large":       {map[string]string{"site.toml": strings.Repeat("x", maxFile+1)}, "site.toml: want a plain file of 262144 bytes"},
		"list too large":  {map[string]string{"site.toml": "", "lists/x": strings.Repeat("x", maxList+1)}, "x: want a plain file of 8388608 bytes"},
		"too many":        {many, "more than 200 files"},
	} {
		t.Run(name, func(t *testing.T) {
			data := box(t)
			err := Import(tree(t, c.files), data, owners)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if Imported(data) {
				t.Error("a refused site is on the box")
			}
		})
	}
	if err := Import(t.TempDir(), box(t), owners); !errors.Is(err, ErrNoSite) {
		t.Errorf("empty stick: got %v, want ErrNoSite", err)
	}
}

func TestLinkIsNoFile(t *testing.T) {
	src := tree(t, map[string]string{"real": "x"})
	if err := os.Symlink("real", filepath.Join(src, "site.toml")); err != nil {
		t.Fatal(err)
	}
	if err := Import(src, box(t), owners); !errors.Is(err, ErrNoSite) {
		t.Errorf("got %v, want ErrNoSite: a link may lead anywhere", err)
	}
}

// The power goes at each of the points that Import lists: the box has no site,
// and the next import brings all of it.
func TestPowerCut(t *testing.T) {
	src := tree(t, clinic)
	for name, stopped := range map[string]func(t *testing.T, data string){
		"while copying": func(t *testing.T, data string) {
			write(t, filepath.Join(data, ".import", "site", ".site.toml.tmp"), "hal")
			write(t, filepath.Join(data, ".import", "secrets", "netd", "old.key"), "x")
		},
		"copied, nothing moved": func(t *testing.T, data string) {
			c := &copier{left: maxFiles}
			if err := c.all(src, filepath.Join(data, ".import"), owners); err != nil {
				t.Fatal(err)
			}
		},
		"secrets moved": func(t *testing.T, data string) {
			c := &copier{left: maxFiles}
			tmp := filepath.Join(data, ".import")
			if err := c.all(src, tmp, owners); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(tmp, "secrets", "netd", "stale.key"), "of the first attempt")
			if err := os.Rename(filepath.Join(tmp, "secrets"), filepath.Join(data, "secrets")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			data := box(t)
			stopped(t, data)
			if Imported(data) {
				t.Fatal("half an import counts as a site")
			}
			if err := Import(src, data, owners); err != nil {
				t.Fatal(err)
			}
			if !Imported(data) {
				t.Fatal("the site is not there")
			}
			keys, err := os.ReadDir(filepath.Join(data, "secrets", "netd"))
			if err != nil || len(keys) != 1 || keys[0].Name() != "hub.key" {
				t.Errorf("secrets of netd: %v, %v; want hub.key alone", keys, err)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

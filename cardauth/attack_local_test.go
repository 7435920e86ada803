package main

import (
	"bufio"
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

// Another program of this box that wants the reader of a live session gets neither
// the card nor a signature, and the session goes on.
func TestAttackSecondProcess(t *testing.T) {
	lab.Require(t, lab.Program("opensc-tool"))
	d := newDesk(t)
	d.insert(d.card(d.world.Professionals, "1"))
	a := d.mustLogin()
	for range 3 {
		// SELECT of PIV, as before a signature with the PIN that somebody else has shown.
		cmd := exec.Command("opensc-tool", "-r", "0", "-s", "00A404000BA000000308000010000100")
		cmd.Env = d.pcscd.Env()
		out, err := cmd.CombinedOutput()
		if err == nil || strings.Contains(string(out), "SW1=0x90") {
			t.Errorf("another program reached the card: %v %s", err, out)
		}
	}
	time.Sleep(time.Second)
	if got := d.call(d.ws, "/v1/renew", a.Token, ""); got.Status != http.StatusOK {
		t.Errorf("the session is over after somebody else tried: %+v", got)
	}
}

// pcscd dies while the card is signing: the session ends, and with pcscd back a
// doctor logs in again.
func TestAttackKillPcscdInASignature(t *testing.T) {
	d := newDesk(t)
	d.insert(d.card(d.world.Professionals, "1"))
	a := d.mustLogin()
	d.slot.Hang(true) // the next proof stays in the card
	d.wait("a command in the card", func() bool { return d.slot.Waiting() > 0 })
	d.pcscd.Kill()
	d.until("no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 })
	d.refused(d.call(d.ws, "/v1/renew", a.Token, ""), http.StatusUnauthorized, "session-over")
	d.slot.Hang(false)
	d.fault("card.no-pcscd")
	if err := d.pcscd.Restart(); err != nil {
		t.Fatal(err)
	}
	d.until("the card after pcscd's restart", reader(wire.ReaderCard))
	d.mustLogin()
}

// After a login the PIN is nowhere in cardauth's memory but in the text of the
// request, in the two buffers of the connection it came by, which are net/http's and
// crypto/tls's and not ours to wipe. What we copied out of it, for the card, is gone.
func TestAttackPINInMemory(t *testing.T) {
	d := newDesk(t)
	d.secretLogin(func() answer { return d.login(secretPIN) })
	asked := 0
	for _, at := range inMemory(t, d.program.Process.Pid, secretPIN) {
		if strings.Contains(at, `pin\":\"`+secretPIN) { // quoted by %q
			asked++
			t.Logf("in the request's text: %s", at)
			continue
		}
		t.Errorf("the PIN is in memory: %s", at)
	}
	if asked > 2 {
		t.Errorf("the request's text is there %d times, the connection has two buffers", asked)
	}
}

// Of a PIN that came sealed nothing is left anywhere.
func TestAttackSealedPINInMemory(t *testing.T) {
	d := newDesk(t, func(d *desk) {
		path := filepath.Join(d.dir, "site", "site.toml")
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, bytes.Replace(text, []byte("[card]\n"), []byte("[card]\nsealed_pin = true\n"), 1), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	d.secretLogin(func() answer {
		resp, err := d.ws.Get("https://" + d.addr + "/v1/pin-key")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var key struct{ Key, Public, Info string }
		if err := json.NewDecoder(resp.Body).Decode(&key); err != nil {
			t.Fatal(err)
		}
		point, err := base64.RawURLEncoding.DecodeString(key.Public)
		if err != nil {
			t.Fatal(err)
		}
		public, err := hpke.DHKEM(ecdh.P256()).NewPublicKey(point)
		if err != nil {
			t.Fatal(err)
		}
		box, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(key.Info), []byte(secretPIN))
		if err != nil {
			t.Fatal(err)
		}
		return d.call(d.ws, "/v1/login", "", fmt.Sprintf(`{"room":%q,"sealed_pin":{"key":%q,"box":%q}}`, room, key.Key, base64.RawURLEncoding.EncodeToString(box)))
	})
	for _, at := range inMemory(t, d.program.Process.Pid, secretPIN) {
		t.Errorf("the PIN is in memory: %s", at)
	}
	d.refused(d.login(rightPIN), http.StatusBadRequest, "plain-pin")
}

// secretPIN is one that is nowhere by chance.
const secretPIN = "73519284"

// secretLogin logs in with a card of that PIN, and lets the dust settle.
func (d *desk) secretLogin(login func() answer) {
	d.t.Helper()
	c, err := pivcard.New(secretPIN)
	if err != nil {
		d.t.Fatal(err)
	}
	der, err := d.world.Professionals.CardCertificate(pki.Person{Name: "Dr 1", Registration: "1", Profession: pki.Doctor}, 0x9A, c.Public(0x9A))
	if err == nil {
		err = c.PutCertificate(0x9A, der)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.insert(c)
	if a := login(); a.Status != http.StatusOK {
		d.t.Fatalf("login: %+v", a)
	}
	time.Sleep(time.Second)
	if where := inMemory(d.t, d.program.Process.Pid, "consulting-1"); len(where) == 0 {
		d.t.Fatal("what must be in its memory was not found: the search is no good")
	}
}

// No core file is written, whatever ends cardauth, and no other program of its user
// reads its memory: the kernel keeps that to root.
func TestAttackCoreFile(t *testing.T) {
	const user = 65534
	as := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	d := newDesk(t, func(d *desk) {
		d.place.put = func(c *exec.Cmd) { c.SysProcAttr = as }
		run, err := filepath.EvalSymlinks(filepath.Join(d.dir, "run"))
		if err = errors.Join(err, os.Chmod(filepath.Dir(d.dir), 0o755)); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{d.dir, run} {
			err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
				return errors.Join(err, os.Lchown(path, user, user))
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", d.program.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
		t.Errorf("limits:\n%s", limits)
	}
	other := exec.Command("sleep", "600")
	other.SysProcAttr = &syscall.SysProcAttr{Credential: as.Credential}
	if err := proc.Bound(other); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	// Of a process that can be dumped these files are its user's, else root's (proc(5)).
	for pid, want := range map[int]uint32{d.program.Process.Pid: 0, other.Process.Pid: user} {
		info, err := os.Stat(fmt.Sprintf("/proc/%d/mem", pid))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; got != want {
			t.Errorf("process %d: its memory is user %d's, want %d's", pid, got, want)
		}
	}
}

// inMemory searches what a process can write to and says where and amid what.
func inMemory(t testing.TB, pid int, text string) (found []string) {
	t.Helper()
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to int64
		var mode string
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); n != 3 || !strings.HasPrefix(mode, "rw") {
			continue
		}
		const step = 1 << 20
		for at := from; at < to; at += step {
			buf := make([]byte, min(step+64, to-at))
			n, _ := mem.ReadAt(buf, at) // a hole reads as nothing
			if i := bytes.Index(buf[:n], []byte(text)); i >= 0 {
				found = append(found, fmt.Sprintf("%x in %s: %q", at+int64(i), lines.Text(), buf[max(0, i-60):min(n, i+40)]))
			}
		}
	}
	return found
}

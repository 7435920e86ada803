package durable

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type lease struct {
	Address string `json:"address"`
}

func TestJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lease.json")
	if got, err := ReadJSON[lease](path, 1<<10); got != nil || err != nil {
		t.Errorf("nothing kept: got %v, %v", got, err)
	}
	if err := WriteJSON(path, lease{"192.0.2.7"}, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadJSON[lease](path, 1<<10); err != nil || got.Address != "192.0.2.7" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := ReadJSON[lease](path, 10); err == nil {
		t.Errorf("a file beyond the limit: %v", got)
	}
	if err := os.WriteFile(path, []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadJSON[lease](path, 1<<10); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged: %v, %v", got, err)
	}
	for range 2 {
		if err := Remove(path); err != nil {
			t.Error(err)
		}
	}
	if err := WriteJSON(path, make(chan int), 0o600); err == nil {
		t.Error("what can't be written is taken")
	}
}

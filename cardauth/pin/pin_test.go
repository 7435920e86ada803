package pin

import (
	"errors"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, good := range []string{"123456", "1234567", "12345678"} {
		if err := Check([]byte(good)); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "12345", "123456789", "12345a", "１２３４", "12 456"} {
		if err := Check([]byte(bad)); !errors.Is(err, ErrForm) {
			t.Errorf("%q: got %v, want ErrForm", bad, err)
		}
	}
}

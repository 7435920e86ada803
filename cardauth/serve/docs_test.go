package serve

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// docs/cards.md is what makers of workstation programs go by: each refusal is in
// its table with its status.
func TestRefusalsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/cards.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.NewReplacer(" *", "").Replace(string(page))
	for kind, code := range status {
		if row := fmt.Sprintf("| `%s` | %d |", kind, code); !strings.Contains(rows, row) {
			t.Errorf("docs/cards.md has no row %q", row)
		}
	}
}

package queue

import (
	"testing"

	"clinicgate/syncd/vault"
)

// Records come from a disk: none may do more than be refused.
func FuzzRecords(f *testing.F) {
	v, err := vault.Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	d := v.Domain("uploads")
	whole, err := sealItem(d, ID{1}, attempt{2}, headOf(item("k")), []byte("body"))
	if err != nil {
		f.Fatal(err)
	}
	marked, err := sealMark(d, ID{1}, attempt{2}, mark{State: Held})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:itemFront])
	f.Add(marked)
	f.Add(sealChunk(d, ID{1}, attempt{2}, 3, []byte("piece")))
	f.Add([]byte{totalRecord})
	q := &Queue{domain: d}
	f.Fuzz(func(t *testing.T, record []byte) {
		if err := q.verifyRecord(record); err == nil && len(record) > 0 && record[0] == itemRecord {
			if id, a, _, _, err := openItem(d, record); err != nil || id != (ID{1}) || a != (attempt{2}) {
				t.Fatalf("a record nobody sealed opens as item %v", id)
			}
		}
		openChunk(d, record, ID{1}, attempt{2}, 3)
	})
}

// Package release describes what cloud ops sign and boxes run. What it has parsed
// is for the board it was asked for, and its names are safe in paths.
//
// Two roles must agree. The targets role, whose keys are offline, signs what a
// release is; the rollout role, delegated to and online, signs which ring of boxes
// gets which of these releases, and can do no more than that.
package release

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"clinicgate/firmware/verity"
)

// Release describes one release for one board. It is a TUF target of the role
// targets, at BOARD/VERSION/release.json.
type Release struct {
	Version string           `json:"version"`
	Board   string           `json:"board"`
	Images  map[string]Image `json:"images"` // "root", "a.efi", "b.efi"
	Notes   string           `json:"notes,omitempty"`
	// Documents say what the release is made of and how, by file name; their SHA-256
	// is what the signature covers. Boxes don't read them.
	Documents map[string]string `json:"documents,omitempty"`
}

// Image is a file of a release, beside its release.json: data filled up to whole
// blocks, then the hash tree that vouches for it.
type Image struct {
	File   string `json:"file"`
	Verity string `json:"verity"` // root hash and blocks, as verity.Image prints them
	Length int64  `json:"length"` // bytes of data before the filling
	SHA256 string `json:"sha256"` // of those bytes
}

// Tree is the image's hash tree.
func (i Image) Tree() (verity.Image, error) { return verity.Parse(i.Verity) }

// Ring says what one group of boxes runs. It is a TUF target of the role rollout,
// at rings/BOARD/RING.json.
type Ring struct {
	Version string `json:"version"`
	Percent int    `json:"percent"`          // of the ring's boxes that take it now
	Halted  string `json:"halted,omitempty"` // why nobody else takes it; empty: go on
}

// Roles and places in the repository.
const (
	RolloutRole = "rollout"
	ringsFolder = "rings"
	// TargetsFolder has everything but the signed metadata.
	TargetsFolder = "targets"
)

// Path is a release's place among the targets.
func Path(board, version string) string { return path.Join(board, version, "release.json") }

// RingPath is a ring's place among the targets.
func RingPath(board, ring string) string { return path.Join(ringsFolder, board, ring+".json") }

// Bounds of a release's images in bytes; a box's slots may hold less.
const (
	MaxKernel = 64 << 20
	MaxRoot   = 1 << 30
)

// Name checks what becomes part of a path: names of versions, boards, rings and
// files. Nothing else may be in them.
func Name(what, got string) error {
	odd := strings.Trim(got, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-")
	if got == "" || len(got) > 64 || odd != "" || strings.ContainsAny(got[:1], "._-") || strings.Contains(got, "..") {
		return fmt.Errorf("%s: got %.80q, want up to 64 letters, digits, dots, dashes", what, got)
	}
	return nil
}

// Parse reads a release.json, which must be for this board and version: a release
// for other hardware may well be signed.
func Parse(text []byte, board, version string) (Release, error) {
	var r Release
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("release %s: %w", version, err)
	}
	if r.Board != board || r.Version != version {
		return r, fmt.Errorf("release %s: got one for board %.40q, version %.40q, want %s, %s", version, r.Board, r.Version, board, version)
	}
	for file, sum := range r.Documents {
		if err := Name("document", file); err != nil {
			return r, fmt.Errorf("release %s: %w", version, err)
		}
		if len(sum) != 64 {
			return r, fmt.Errorf("release %s: document %s: got %.80q, want 64 hexadecimal digits", version, file, sum)
		}
	}
	for _, want := range []string{"root", "a.efi", "b.efi"} {
		i, ok := r.Images[want]
		if !ok {
			return r, fmt.Errorf("release %s: lacks the image %s", version, want)
		}
		limit := int64(MaxKernel)
		if want == "root" {
			limit = MaxRoot
		}
		if err := i.check(limit); err != nil {
			return r, fmt.Errorf("release %s: image %s: %w", version, want, err)
		}
	}
	return r, nil
}

func (i Image) check(limit int64) error {
	tree, err := i.Tree()
	if err != nil {
		return err
	}
	if i.Length > limit {
		return fmt.Errorf("length: got %d, want %d at most", i.Length, limit)
	}
	if i.Length <= (tree.Blocks-1)*verity.Block || i.Length > tree.Blocks*verity.Block {
		return fmt.Errorf("length: got %d, want one that fills %d blocks", i.Length, tree.Blocks)
	}
	if len(i.SHA256) != 64 {
		return fmt.Errorf("sha256: got %.80q, want 64 hexadecimal digits", i.SHA256)
	}
	return Name("file", i.File)
}

// ParseRing reads a ring's file.
func ParseRing(text []byte) (Ring, error) {
	var r Ring
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("ring: %w", err)
	}
	if r.Percent < 0 || r.Percent > 100 {
		return r, fmt.Errorf("ring: percent: got %d, want 0 to 100", r.Percent)
	}
	return r, Name("ring: version", r.Version)
}

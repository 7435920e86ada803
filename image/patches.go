package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"clinicgate/firmware/patch"
	"clinicgate/firmware/release"
	"clinicgate/firmware/verity"
)

// stagePatches puts patches from an older release's images beside a release's own.
// They are not signed: a box checks each block it makes of one. A box that runs
// slot a makes b's kernel image from a's.
func stagePatches(depot, from string, r release.Release) error {
	if err := release.Name("version", from); err != nil {
		return err
	}
	old := filepath.Join(depot, release.TargetsFolder, r.Board, from)
	for image, seed := range map[string]string{"root": "root", "a.efi": "b.efi", "b.efi": "a.efi"} {
		to, err := r.Images[image].Tree()
		if err != nil {
			return err
		}
		size, err := stagePatch(filepath.Join(old, seed+".img"), filepath.Join(depot, release.TargetsFolder, r.Board, r.Version, r.Images[image].File), to)
		if err != nil {
			return fmt.Errorf("patch from %s: %s: %w", from, image, err)
		}
		say("patch from %s: %s: %d bytes instead of %d", from, image, size, to.Size())
	}
	return nil
}

// stagePatch makes one patch, beside the image it leads to.
func stagePatch(old, fresh string, to verity.Image) (int64, error) {
	was, err := os.ReadFile(old)
	if err != nil {
		return 0, err
	}
	from, err := treeBehind(was)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", old, err)
	}
	is, err := os.ReadFile(fresh)
	if err != nil {
		return 0, err
	}
	f, err := os.Create(filepath.Join(filepath.Dir(fresh), patch.Name(filepath.Base(fresh), from)))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := patch.Write(f, from, to, was, is); err != nil {
		return 0, err
	}
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), errors.Join(f.Sync(), f.Close())
}

// treeBehind finds which of a staged image's blocks are data: those whose tree is
// as large as what follows them.
func treeBehind(staged []byte) (verity.Image, error) {
	total := int64(len(staged)) / verity.Block
	for tree := range total {
		guess := verity.Image{Blocks: total - tree}
		if guess.TreeBlocks() != tree {
			continue
		}
		hashes := make([]verity.Hash, guess.Blocks)
		for n := range hashes {
			hashes[n] = verity.Sum(staged[n*verity.Block:][:verity.Block])
		}
		image, _, err := verity.Tree(hashes)
		return image, err
	}
	return verity.Image{}, fmt.Errorf("got %d blocks, want an image with its tree", total)
}

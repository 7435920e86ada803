package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"clinicgate/firmware/depot"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/release"
	"clinicgate/firmware/verity"
)

func stageCommand(args []string) error {
	set := flag.NewFlagSet("stage", flag.ExitOnError)
	board := set.String("board", "qemu-x86_64", "`board` it was built for")
	version := set.String("version", "dev", "`release` it is called")
	to := set.String("depot", "", "depot `folder`")
	from := set.String("from", "", "`release` in the depot that most boxes run: they get a patch")
	_ = set.Parse(args)
	if *to == "" || set.NArg() != 1 {
		return errors.New("want: image stage -depot FOLDER FOLDER")
	}
	r, err := stage(filesIn(set.Arg(0)), *to, *board, *version)
	if err != nil {
		return err
	}
	if *from != "" {
		if err := stagePatches(*to, *from, r); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(*to, release.TargetsFolder, *board, *version, "unsigned.json")
	say("staged; to be signed: %s", path)
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// stage puts a build's images into a depot and describes them. Nobody believes
// them before the description is signed.
func stage(files built, dir, board, version string) (release.Release, error) {
	r := release.Release{Version: version, Board: board, Images: map[string]release.Image{}}
	if err := errors.Join(release.Name("board", board), release.Name("version", version)); err != nil {
		return r, err
	}
	to := filepath.Join(dir, release.TargetsFolder, board, version)
	if err := durable.MkdirAll(to, 0o755); err != nil {
		return r, err
	}
	for name, path := range map[string]string{"root": files.Root, "a.efi": files.UKI["a"], "b.efi": files.UKI["b"]} {
		data, err := os.ReadFile(path)
		if err != nil {
			return r, err
		}
		if name == "root" { // the build has put a tree behind it; so does this
			if data, err = withoutTree(files, data); err != nil {
				return r, err
			}
		}
		image, tree, err := verity.Build(bytes.NewReader(data))
		if err != nil {
			return r, fmt.Errorf("stage %s: %w", name, err)
		}
		sum := sha256.Sum256(data)
		r.Images[name] = release.Image{File: name + ".img", Verity: image.String(), Length: int64(len(data)), SHA256: fmt.Sprintf("%x", sum)}
		whole := make([]byte, image.Size())
		copy(whole, data)
		copy(whole[image.Blocks*verity.Block:], tree)
		if err := os.WriteFile(filepath.Join(to, name+".img"), whole, 0o644); err != nil {
			return r, err
		}
	}
	return r, stageDocuments(filepath.Dir(files.Disk), to, &r)
}

// stageDocuments puts what a build says of itself beside its images.
func stageDocuments(from, to string, r *release.Release) error {
	r.Documents = map[string]string{}
	for _, name := range documents {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return fmt.Errorf("stage: %w", err)
		}
		r.Documents[name] = fmt.Sprintf("%x", sha256.Sum256(text))
		if err := os.WriteFile(filepath.Join(to, name), text, 0o644); err != nil {
			return fmt.Errorf("stage: %w", err)
		}
	}
	return nil
}

// withoutTree cuts a root filesystem where the command line says its data end.
func withoutTree(files built, data []byte) ([]byte, error) {
	line, err := os.ReadFile(files.Cmdline)
	if err != nil {
		return nil, err
	}
	_, after, _ := bytes.Cut(line, []byte("clinicgate.verity="))
	image, err := verity.Parse(string(bytes.Fields(append(after, ' ', '-'))[0]))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", files.Cmdline, err)
	}
	if int64(len(data)) < image.Blocks*verity.Block {
		return nil, fmt.Errorf("%s: got %d bytes, the command line says %d blocks", files.Root, len(data), image.Blocks)
	}
	return data[:image.Blocks*verity.Block], nil
}

// devDepot returns the TUF root of this workstation's own depot, which it makes
// the first time. Its keys lie beside it and are good for nothing else.
func devDepot(dir string) ([]byte, error) {
	root := filepath.Join(dir, "metadata", "1.root.json")
	if text, err := os.ReadFile(root); err == nil {
		return text, nil
	}
	keys, err := depot.MakeKeys(filepath.Join(dir, "keys"))
	if err != nil {
		return nil, err
	}
	if err := (depot.Depot{Dir: dir, Now: time.Now()}).Create(keys, nil); err != nil {
		return nil, err
	}
	return os.ReadFile(root)
}

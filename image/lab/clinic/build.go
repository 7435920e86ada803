package clinic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Root finds the source tree around the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("find the source tree: no go.mod here or above")
		}
		dir = filepath.Dir(dir)
	}
}

// Folders of what is built already. Whoever runs the labs as another user than the
// one who builds sets them.
const (
	binEnv   = "CLINICGATE_BIN"
	imageEnv = "CLINICGATE_IMAGE"
)

// programs are the packages whose programs a lab runs.
var programs = []string{
	"./netd", "./failoverd", "./cardauth", "./syncd", "./firmware/gatectl", "./image", "golang.zx2c4.com/wireguard",
}

// Build builds the programs a lab runs and returns their folder.
func Build(ctx context.Context, root string) (string, error) {
	if dir := os.Getenv(binEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir := filepath.Join(root, "build/lab/bin")
	return dir, goTool(ctx, root, append([]string{"build", "-o", dir + "/"}, programs...)...)
}

// BuildImage builds the image and returns its folder.
func BuildImage(ctx context.Context, root string) (string, error) {
	if dir := os.Getenv(imageEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir := filepath.Join(root, "build/lab/image")
	return dir, goTool(ctx, root, "run", "./image", "build", "-o", dir)
}

func goTool(ctx context.Context, root string, args ...string) error {
	if err := os.MkdirAll(filepath.Join(root, "build/lab/bin"), 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w: %s", args[0], err, out)
	}
	return nil
}

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

// binEnv names a folder of programs that are built already: whoever runs the labs
// as another user than the one who builds sets it.
const binEnv = "CLINICGATE_BIN"

// programs are the packages whose programs a clinic runs.
var programs = []string{"golang.zx2c4.com/wireguard"}

// Build builds the programs a clinic runs and returns their folder.
func Build(ctx context.Context, root string) (string, error) {
	if dir := os.Getenv(binEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir := filepath.Join(root, "build/lab/bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", dir + "/"}, programs...)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the programs: %w: %s", err, out)
	}
	return dir, nil
}

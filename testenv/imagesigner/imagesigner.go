// Package imagesigner signs images with the real cosign, as a build does after
// its push.
//
// The trap that bites first: cosign 3 signs into a bundle that refers to the
// image, its older form is a tag beside it; who verifies has to know both.
package imagesigner

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"hoist/testenv/programs"
)

// Form is where and how cosign leaves a signature.
type Form string

// Bundle is what cosign 3 does by itself: a sigstore bundle that refers to the
// image. Tag is what cosign 2 did: a tag sha256-<hex>.sig beside it.
const (
	Bundle Form = "bundle"
	Tag    Form = "tag"
)

// Signer is a key pair of cosign's in a folder.
type Signer struct {
	program string
	dir     string
}

// New makes a key pair in dir, which has to exist and is kept. progress is told
// about the building of the program, if it has to be built.
func New(ctx context.Context, dir string, progress io.Writer) (*Signer, error) {
	program, err := programs.Path(ctx, programs.Cosign, progress)
	if err != nil {
		return nil, err
	}
	s := &Signer{program: program, dir: dir}
	return s, s.run(ctx, "generate-key-pair")
}

// PublicKeyFile returns the path of the public key, DIR/cosign.pub.
func (s *Signer) PublicKeyFile() string { return filepath.Join(s.dir, "cosign.pub") }

// Sign signs what is in a registry: host/repository:tag or @digest. dockerConfig
// is what lets in there; nil for a registry that is open to everybody.
func (s *Signer) Sign(ctx context.Context, image string, form Form, dockerConfig []byte) error {
	if dockerConfig == nil {
		dockerConfig = []byte("{}")
	}
	if err := os.WriteFile(filepath.Join(s.dir, "config.json"), dockerConfig, 0o600); err != nil {
		return err
	}
	return s.run(ctx, "sign", "--key", "cosign.key", "--yes", fmt.Sprintf("--new-bundle-format=%t", form == Bundle),
		"--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry", image)
}

func (s *Signer) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"HOME=" + s.dir, "DOCKER_CONFIG=" + s.dir, "COSIGN_PASSWORD=", "PATH=" + os.Getenv("PATH")}
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cosign %s: %w\n%s", args[0], err, bytes.TrimSpace(said))
	}
	return nil
}

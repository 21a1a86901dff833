// Package unsealer runs the controller of sealed-secrets against a cluster, as if
// it were a pod there, and seals what only it can open.
//
// The trap that bites first: one controller serves the whole cluster. Two of
// them see each other's SealedSecrets and say that they cannot open them.
package unsealer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"hoist/testenv/internal/process"
	"hoist/testenv/programs"
)

const startLimit = 60 * time.Second

// Controller is a running controller.
type Controller struct {
	program     string
	certificate string
	process     *process.Process
}

// Start starts a controller that keeps its key in a namespace, and returns when
// it can unseal. It works in dir, which has to exist and is kept; progress is told
// about the building of the program. The definition of SealedSecret may come later.
func Start(ctx context.Context, kubeconfig, namespace, dir string, progress io.Writer) (*Controller, error) {
	program, err := programs.Path(ctx, programs.SealedSecrets, progress)
	if err != nil {
		return nil, err
	}
	c := &Controller{program: program, certificate: filepath.Join(dir, "sealing.crt")}
	ready := process.NewFirstLine()
	c.process, err = process.Start(process.Options{
		Path: program, Args: []string{"controller", "--kubeconfig", kubeconfig, "--namespace", namespace, "--certificate", c.certificate},
		Env: []string{fmt.Sprintf("HOIST_TESTENV_PARENT=%d", os.Getpid())}, Stdout: ready,
	})
	if err != nil {
		return nil, err
	}
	patience := time.NewTimer(startLimit)
	defer patience.Stop()
	select {
	case <-ready.Line():
		return c, nil
	case <-c.process.Done():
		err = c.process.Err()
	case <-patience.C:
		err = fmt.Errorf("not ready within %v", startLimit)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	c.process.Kill()
	return nil, fmt.Errorf("sealed-secrets controller: %w", err)
}

// Seal returns the SealedSecret, as YAML, that the controller makes the Secret
// of. It opens under that name and in that namespace only; namespace is that of a
// secret which names none.
func (c *Controller) Seal(ctx context.Context, secret []byte, namespace string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.program, "seal", "--certificate", c.certificate, "--namespace", namespace)
	cmd.Stdin = bytes.NewReader(secret)
	var sealed, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &sealed, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("seal: %w\n%s", err, bytes.TrimSpace(said.Bytes()))
	}
	return sealed.Bytes(), nil
}

// Stop ends the controller.
func (c *Controller) Stop() { c.process.Kill() }

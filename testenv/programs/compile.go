package programs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// build compiles into a temporary name and renames: whoever finds the program
// finds a whole one.
func (b *build) build(ctx context.Context, line *progressLine) error {
	if err := os.MkdirAll(filepath.Dir(b.output), 0o755); err != nil {
		return err
	}
	tmp := fmt.Sprintf("%s.%d.tmp", b.output, os.Getpid())
	defer os.Remove(tmp)
	args := append(append([]string{"-o", tmp}, b.args...), ".")
	if err := compile(ctx, b.source, []string{"GOWORK=off"}, args, line); err != nil {
		return err
	}
	return os.Rename(tmp, b.output)
}

// GoBuild runs go build with args in the working folder, and tells progress how
// far it is. It is for a build that takes minutes with a cold cache.
func GoBuild(ctx context.Context, name string, args []string, progress io.Writer) error {
	line := newProgressLine(progress, name)
	defer line.end()
	return compile(ctx, "", nil, args, line)
}

func compile(ctx context.Context, dir string, env, args []string, line *progressLine) error {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("the go command is needed: %w", err)
	}
	cmd := exec.CommandContext(ctx, goTool, append([]string{"build", "-v"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	// The compilers that go started have to end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	said := &compilerOutput{line: line}
	cmd.Stderr = said
	cmd.Stdout = said
	stop := line.tick(ctx)
	err = cmd.Run()
	stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, bytes.TrimSpace(said.words.Bytes()))
	}
	return nil
}

// compilerOutput counts the packages that go build -v names and keeps the rest.
type compilerOutput struct {
	line    *progressLine
	partial []byte
	words   bytes.Buffer
}

func (o *compilerOutput) Write(p []byte) (int, error) {
	o.partial = append(o.partial, p...)
	for {
		l, rest, whole := bytes.Cut(o.partial, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		o.partial = rest
		switch text := string(l); {
		case strings.HasPrefix(text, "go: downloading "):
			o.line.downloading()
		case text != "" && !strings.ContainsAny(text, " \t:"):
			o.line.compiled()
		default:
			fmt.Fprintln(&o.words, text)
		}
	}
}

// lock takes an advisory lock that all processes of this machine respect. It
// ends with the process, however that ends.
func lock(ctx context.Context, path string, line *progressLine) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	try := time.NewTicker(100 * time.Millisecond)
	defer try.Stop()
	stop := func() {}
	defer func() { stop() }()
	for first := true; ; first = false {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, &os.PathError{Op: "lock", Path: path, Err: err}
		}
		if first {
			line.waiting()
			stop = line.tick(ctx)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-try.C:
		}
	}
}

// isTerminal tells whether a line can be written over.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	s, err := f.Stat()
	return err == nil && s.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// Package process runs a program beside this one, in a process group of its
// own, and ends it by its process id.
package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say what to run. Env is added to this process's own environment;
// Files become the descriptors from 3 on.
type Options struct {
	Path   string
	Args   []string
	Env    []string
	Files  []*os.File
	Stdout io.Writer
}

// Process is a running program. Its methods may be called from several
// goroutines.
type Process struct {
	cmd    *exec.Cmd
	stderr *tail
	done   chan struct{}
	err    error // set before done is closed
}

// Start starts the program. It is not tied to a context: whoever starts it ends
// it, with Stop or Kill.
func Start(o Options) (*Process, error) {
	p := &Process{cmd: exec.Command(o.Path, o.Args...), stderr: &tail{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), o.Env...)
	p.cmd.ExtraFiles = o.Files
	p.cmd.Stdout = o.Stdout
	p.cmd.Stderr = p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID returns the process id, which is also the id of the process group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed once the program has ended and was waited for.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells, after Done, how the program ended and what it said last. It is
// never nil.
func (p *Process) Err() error {
	<-p.done
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	if said := p.stderr.String(); said != "" {
		return fmt.Errorf("%s: %s", how, said)
	}
	return errors.New(how)
}

// Stop asks the program to end and waits. When the grace is over, its whole
// group is killed, and that is an error. A program that has ended before is none.
func (p *Process) Stop(grace time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-p.done:
		return nil
	case <-patience.C:
		p.Kill()
		return fmt.Errorf("process %d did not end within %v and was killed: %w", p.PID(), grace, p.Err())
	}
}

// Kill ends the program's whole group at once, as a crash would, and waits.
func (p *Process) Kill() {
	select {
	case <-p.done: // the id may be somebody else's by now
	default:
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
	<-p.done
}

// tail keeps the end of what was written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}

// FirstLine is a writer that hands over the first line written to it, and drops
// the rest.
type FirstLine struct {
	mu    sync.Mutex
	text  []byte
	whole bool
	line  chan string
}

// NewFirstLine returns a FirstLine.
func NewFirstLine() *FirstLine { return &FirstLine{line: make(chan string, 1)} }

// Line receives the line, without its end, once.
func (f *FirstLine) Line() <-chan string { return f.line }

func (f *FirstLine) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.whole {
		return len(p), nil
	}
	f.text = append(f.text, p...)
	var line string
	if line, _, f.whole = strings.Cut(string(f.text), "\n"); f.whole {
		f.line <- line
	}
	return len(p), nil
}

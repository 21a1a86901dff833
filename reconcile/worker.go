package reconcile

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// worker is a process that builds, as its builder sees it. One build at a time
// uses it.
type worker struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *os.File
	reader *bufio.Reader
	said   *head // on standard error
	memory int64
	rest   *time.Timer   // ends it when nobody wants it
	gone   chan struct{} // closed when the process is gone
	greets bool          // it has still to say hello
}

// startWorker starts a process with as little around it as there can be: no
// environment, no descriptors but three pipes.
func startWorker(o BuilderOptions) (*worker, error) {
	program := o.Command[0]
	if program == "" {
		var err error
		if program, err = self(); err != nil {
			return nil, err
		}
	}
	w := &worker{
		cmd:  &exec.Cmd{Path: program, Args: append(slices.Clone(o.Command), strconv.FormatInt(o.Memory, 10))},
		said: &head{}, memory: o.Memory, gone: make(chan struct{}), greets: true,
	}
	w.cmd.Args[0] = "hoist"
	// Its heap is small, so that the collector may run more seldom.
	w.cmd.Env = []string{"GOGC=200", "GOMAXPROCS=" + strconv.Itoa(min(runtime.GOMAXPROCS(0), 4))}
	w.cmd.Stderr = w.said
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirIn.Close(), in.Close())
	}
	w.cmd.Stdin, w.cmd.Stdout, w.in, w.out, w.reader = theirIn, theirOut, in, out, bufio.NewReaderSize(out, 64<<10)
	err = w.cmd.Start()
	_ = theirIn.Close()
	_ = theirOut.Close()
	if err != nil {
		_, _ = in.Close(), out.Close()
		return nil, err
	}
	go func() {
		_ = w.cmd.Wait() // how it ended is in ProcessState
		close(w.gone)
	}()
	return w, nil
}

// self is this very program, also after its file was replaced.
func self() (string, error) {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe", nil
	}
	return os.Executable()
}

func (w *worker) lives() bool {
	select {
	case <-w.gone:
		return false
	default:
		return true
	}
}

// end ends the process. Whoever reads or writes its pipes is told.
func (w *worker) end() {
	_ = w.cmd.Process.Kill()
	_, _ = w.in.Close(), w.out.Close()
}

// build has an app built. An [endError] means that the worker is of no use any more.
func (w *worker) build(ctx context.Context, tree fs.FS, a App) (*Set, error) {
	type outcome struct {
		set *Set
		err error
	}
	w.said.reset()
	done := make(chan outcome, 1)
	go func() {
		set, err := w.talk(tree, a)
		done <- outcome{set, err}
	}()
	select {
	case o := <-done:
		var broken *brokenError
		if !errors.As(o.err, &broken) {
			return o.set, o.err
		}
		return nil, w.why(ctx, broken)
	case <-ctx.Done(): // the tree may be what hangs: nobody waits for talk
		w.end()
		return nil, w.why(ctx, nil)
	}
}

// brokenError is the end of a talk that has not come to its end. Either the
// worker hung up, or it said what made us hang up.
type brokenError struct {
	err    error
	hungUp bool
}

func (e *brokenError) Error() string { return e.err.Error() }

// talk asks for a build and answers questions until there is a set, or the
// worker says why there is none.
func (w *worker) talk(tree fs.FS, a App) (*Set, error) {
	broken := func(err error) (*Set, error) { return nil, &brokenError{err: err} }
	hungUp := func(err error) (*Set, error) { return nil, &brokenError{err: err, hungUp: true} }
	if w.greets {
		if f, err := readFrame(w.reader); err != nil {
			return hungUp(err)
		} else if f.kind != frameHello || string(f.words) != protocol {
			return broken(errForeign)
		}
		w.greets = false
	}
	if err := writeJSON(w.in, frameBuild, a); err != nil {
		return hungUp(err)
	}
	var objects []Manifest
	size := 0
	for {
		f, err := readFrame(w.reader)
		if errors.Is(err, errTooLong) {
			return broken(err)
		}
		if err != nil {
			return hungUp(err)
		}
		switch f.kind {
		case frameLook, frameRead, frameList:
			if len(f.words) > maxQuestion {
				return broken(errForeign)
			}
			if err := w.answer(tree, f.kind, string(f.words)); err != nil {
				return hungUp(err)
			}
		case frameObject:
			if size += len(f.words); size > 2*maxObjects(w.memory) { // files have names, too
				return broken(errTooLong)
			}
			m, err := readManifest(f.words)
			if err != nil {
				return broken(err)
			}
			objects = append(objects, m)
		case frameSet:
			set, err := readSet(f.words, objects)
			if err != nil {
				return broken(err)
			}
			return set, nil
		case frameFailed:
			var failed failure
			if err := json.Unmarshal(f.words, &failed); err != nil {
				return broken(err)
			}
			if failed.Panic != "" {
				_, _ = w.said.Write([]byte(failed.Panic))
				return broken(panicked{failed.Error})
			}
			return nil, errors.New(failed.Error)
		default:
			return broken(errForeign)
		}
	}
}

// answer tells a worker about a path of the tree, and about nothing else.
func (w *worker) answer(tree fs.FS, kind byte, name string) error {
	a, content := look(tree, kind, name)
	head, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return writeFrame(w.in, frameAnswer, head, []byte{'\n'}, content)
}

func look(tree fs.FS, kind byte, name string) (a answer, content []byte) {
	defer func() {
		if p := recover(); p != nil {
			a, content = answer{Error: fmt.Sprintf("%s: internal error while reading: %v", name, p)}, nil
		}
	}()
	if !fs.ValidPath(name) {
		return answer{Error: fmt.Sprintf("%q is no path of the repository", name)}, nil
	}
	var err error
	switch kind {
	case frameList:
		a.Entries, err = list(tree, name)
	case frameRead:
		content, err = readFile(tree, name)
	default:
		var info fs.FileInfo
		if info, err = fs.Lstat(tree, name); err != nil {
			break
		}
		a.Mode = info.Mode().Type()
		if info.Mode().IsRegular() && info.Size() <= maxUnasked {
			// One that cannot be read may not be wanted.
			if b, err := readFile(tree, name); err == nil {
				a.Whole, content = true, b
			}
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.Missing = true
	case err != nil:
		a.Error = err.Error()
	}
	return a, content
}

func readFile(tree fs.FS, name string) ([]byte, error) {
	info, err := fs.Lstat(tree, name)
	if err != nil {
		return nil, err
	}
	tooLarge := fmt.Errorf("%s: is larger than %d MiB", name, maxFile>>20)
	if info.Size() > maxFile {
		return nil, tooLarge
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is no regular file")}
	}
	b, err := fs.ReadFile(tree, name)
	if len(b) > maxFile {
		return nil, tooLarge
	}
	return b, err
}

func list(tree fs.FS, name string) ([]listed, error) {
	entries, err := fs.ReadDir(tree, name)
	var all []listed
	for _, e := range entries {
		all = append(all, listed{e.Name(), e.Type()})
	}
	return all, err
}

var errForeign = errors.New("it says what no build process says")

// slow is the cause of a context that ended a build after so long.
type slow time.Duration

func (s slow) Error() string { return "no end after " + time.Duration(s).String() }

type panicked struct{ value string }

func (p panicked) Error() string { return p.value }

// endError tells why a build ended its worker, or what else did.
type endError struct {
	text    string
	outside bool   // it was none of the build's doing
	said    string // what the worker said on standard error; for the log
}

func (e *endError) Error() string { return e.text }

// lastWords is the line with which a Go program begins to die.
var lastWords = regexp.MustCompile(`(?m)^(?:panic|fatal error): .*$`)

// why ends the worker, unless it is ending by itself, and tells how it came to that.
func (w *worker) why(ctx context.Context, broken *brokenError) *endError {
	if broken == nil || !broken.hungUp {
		w.end()
	}
	timer := time.AfterFunc(5*time.Second, w.end) // it hung up and stays
	defer timer.Stop()
	<-w.gone
	e := &endError{said: w.said.String()}
	state := w.cmd.ProcessState
	status, _ := state.Sys().(syscall.WaitStatus)
	var slow slow
	var panicked panicked
	switch {
	case errors.As(context.Cause(ctx), &slow):
		e.text = slow.Error() + ": the build was ended, other apps go on; look for YAML anchors, patches or replacements that multiply, or split a large app or give it a longer timeout"
	case broken != nil && errors.As(broken.err, &panicked):
		e.text = crash(panicked.value)
	case broken != nil && !broken.hungUp:
		e.text = "its process was ended: " + broken.Error()
	case state.ExitCode() == exitMemory, strings.Contains(e.said, "out of memory"), strings.Contains(e.said, "cannot allocate memory"):
		e.text = fmt.Sprintf("more than %s of memory: the build was ended, other apps go on; look for YAML anchors or replacements that multiply, or raise --build-memory", bytesOf(w.memory))
	case strings.Contains(e.said, "stack overflow"):
		e.text = "kustomize has no end of recursion: the build was ended, other apps go on; look for a YAML anchor that contains itself"
	case lastWords.MatchString(e.said):
		e.text = crash(lastWords.FindString(e.said))
	case status.Signaled():
		e.text = fmt.Sprintf("its process was ended twice by somebody else (%v): is the memory of the machine, or of the container, used up?", status.Signal())
		e.outside = true
	default:
		e.text = fmt.Sprintf("its process ended (%v)", state)
		if line, _, _ := strings.Cut(e.said, "\n"); line != "" {
			e.text += ": " + short(line)
		}
	}
	return e
}

func crash(what string) string {
	line, _, _ := strings.Cut(what, "\n")
	return fmt.Sprintf("kustomize panicked: %s; other apps go on; undo what changed these files last and report it, the stack is in the log at level debug", short(line))
}

func short(line string) string {
	const most = 200
	if len(line) > most {
		return strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}

// bytesOf spells a number of bytes as people write it.
func bytesOf(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	default:
		return fmt.Sprintf("%d MiB", n>>20)
	}
}

// head keeps the beginning of what is written to it.
type head struct {
	mu   sync.Mutex
	text []byte
}

const headSize = 32 << 10

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = append(h.text, p[:min(len(p), headSize-len(h.text))]...)
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.TrimSpace(string(h.text))
}

func (h *head) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = nil
}

package reconcile

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime/debug"
	"time"
)

// Serve is the life of a build worker, the other end of a [Builder]: it builds
// what it is asked for until in ends, with at most so many bytes of memory. The
// process can do nothing else after this: on Linux it can open neither files nor
// connections any more.
//
// It returns when in ends, also in the middle of a build: the process has to exit then.
func Serve(in io.Reader, out io.Writer, memory int64) error {
	return serve(in, out, memory, func(ctx context.Context, tree fs.FS, a App) (*Set, error) {
		return build(ctx, tree, dirOf(a.Path), a)
	})
}

func serve(in io.Reader, out io.Writer, memory int64, build BuildFunc) error {
	confine(memory)
	s := &served{in: make(chan frame), out: bufio.NewWriter(out), build: build, most: maxObjects(memory)}
	if err := writeFrame(s.out, frameHello, []byte(protocol)); err != nil {
		return err
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- s.run() }()
	ended := make(chan error, 1)
	go func() { ended <- s.listen(in) }()
	select { // the builder is gone, whatever is being built
	case err := <-ended:
		return err
	case err := <-failed:
		return err
	}
}

// served is a worker's end of the talk.
type served struct {
	in    chan frame
	out   *bufio.Writer
	build BuildFunc
	most  int // bytes of all objects of a set
}

// listen hears the builder until it says no more.
func (s *served) listen(in io.Reader) error {
	defer close(s.in)
	r := bufio.NewReader(in)
	for {
		f, err := readFrame(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.in <- f
	}
}

func (s *served) run() error {
	for f := range s.in {
		if f.kind != frameBuild {
			return fmt.Errorf("asked for %q", f.kind)
		}
		var a App
		if err := json.Unmarshal(f.words, &a); err != nil {
			return err
		}
		set, failed := s.try(a)
		if failed == nil {
			if err := writeSet(s.out, set, s.most); err != nil {
				failed = &failure{Error: err.Error()}
			}
		}
		if failed != nil {
			if err := writeJSON(s.out, frameFailed, failed); err != nil {
				return err
			}
		}
		if err := s.out.Flush(); err != nil {
			return err
		}
		if failed != nil && failed.Panic != "" {
			return errors.New("kustomize panicked") // who knows what it left behind
		}
	}
	return nil
}

func (s *served) try(a App) (set *Set, failed *failure) {
	defer func() {
		if p := recover(); p != nil {
			failed = &failure{Error: fmt.Sprint(p), Panic: string(debug.Stack())}
		}
	}()
	set, err := s.build(context.Background(), &askingFS{s: s, known: map[string]looked{}}, a)
	if err != nil {
		return nil, &failure{Error: err.Error()}
	}
	return set, nil
}

// ask asks the builder about a path of the tree.
func (s *served) ask(kind byte, name string) (answer, []byte, error) {
	err := writeFrame(s.out, kind, []byte(name))
	if err == nil {
		err = s.out.Flush()
	}
	f, ok := <-s.in
	if err == nil && (!ok || f.kind != frameAnswer) {
		err = errors.New("the builder does not answer")
	}
	if err != nil {
		return answer{}, nil, err
	}
	head, content, _ := bytes.Cut(f.words, []byte{'\n'})
	var a answer
	if err := json.Unmarshal(head, &a); err != nil {
		return a, nil, err
	}
	switch {
	case a.Missing:
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case a.Error != "":
		err = errors.New(a.Error) // says what and where
	}
	return a, content, err
}

// askingFS is the tree as the worker sees it. It asks for everything once.
type askingFS struct {
	s     *served
	known map[string]looked
}

// looked is the answer to a look.
type looked struct {
	answer
	content []byte
	err     error
}

func (f *askingFS) look(name string) (looked, error) {
	l, ok := f.known[name]
	if !ok {
		if !fs.ValidPath(name) {
			return l, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
		}
		l.answer, l.content, l.err = f.s.ask(frameLook, name)
		f.known[name] = l
	}
	return l, l.err
}

func (f *askingFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
}

// Stat and Lstat are one: the builder follows no links.
func (f *askingFS) Stat(name string) (fs.FileInfo, error)  { return f.info(name) }
func (f *askingFS) Lstat(name string) (fs.FileInfo, error) { return f.info(name) }

func (f *askingFS) info(name string) (fs.FileInfo, error) {
	l, err := f.look(name)
	if err != nil {
		return nil, err
	}
	return entry{listed{path.Base(name), l.Mode}}, nil
}

func (f *askingFS) ReadLink(name string) (string, error) {
	return "", &fs.PathError{Op: "readlink", Path: name, Err: errors.ErrUnsupported}
}

func (f *askingFS) ReadFile(name string) ([]byte, error) {
	l, err := f.look(name)
	if err != nil || l.Whole {
		return bytes.Clone(l.content), err
	}
	_, content, err := f.s.ask(frameRead, name)
	return content, err
}

func (f *askingFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrInvalid}
	}
	a, _, err := f.s.ask(frameList, name)
	var entries []fs.DirEntry
	for _, e := range a.Entries {
		entries = append(entries, fs.FileInfoToDirEntry(entry{e}))
	}
	return entries, err
}

var _ interface {
	fs.StatFS
	fs.ReadFileFS
	fs.ReadDirFS
	fs.ReadLinkFS
} = (*askingFS)(nil)

// entry is a [fs.FileInfo] that knows name and type.
type entry struct{ listed }

func (e entry) Name() string       { return e.listed.Name }
func (e entry) Mode() fs.FileMode  { return e.listed.Mode }
func (e entry) IsDir() bool        { return e.listed.Mode.IsDir() }
func (e entry) Size() int64        { return 0 }
func (e entry) ModTime() time.Time { return time.Time{} }
func (e entry) Sys() any           { return nil }

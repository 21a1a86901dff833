package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hoist/bump"
)

// beWorker is what the test binary does when a builder starts it. Some apps do
// what a build must not; the product has no such thing.
func beWorker(memory string) {
	limit, err := strconv.ParseInt(memory, 10, 64)
	if err != nil {
		panic(err)
	}
	err = serve(os.Stdin, os.Stdout, limit, func(ctx context.Context, tree fs.FS, a App) (*Set, error) {
		switch a.Path {
		case "panic":
			panic("boom\nwith a second line")
		case "hang":
			_, _ = fs.Stat(tree, "apps")
			for i := 0; ; i++ {
				_ = i
			}
		case "reach":
			return nil, errors.Join(reachOut()...)
		case "gulp":
			b := make([]byte, 8<<30)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
		case "die":
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "exit":
			os.Exit(7)
		case "lie":
			_, _ = os.Stdout.WriteString("this is no frame at all, and long enough to be read as one")
			select {}
		case "escape":
			f := tree.(*askingFS)
			_, _, err := f.s.ask(frameRead, "../../etc/passwd")
			return nil, err
		}
		return build(ctx, tree, dirOf(a.Path), a)
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// reachOut tries what a build has no need of and returns what succeeded.
func reachOut() (did []error) {
	if f, err := os.Open("/etc/hostname"); err == nil {
		f.Close()
		did = append(did, errors.New("a file was opened"))
	}
	if s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0); err == nil {
		_ = syscall.Close(s)
		did = append(did, errors.New("a socket was opened"))
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GO") {
			did = append(did, fmt.Errorf("the environment has %s", v))
		}
	}
	return append(did, errors.New("tried"))
}

// builder is a builder whose workers are the test binary.
func builder(t testing.TB, o BuilderOptions) *Builder {
	t.Helper()
	o.Command = []string{"", "build-worker"}
	b := NewBuilder(o)
	t.Cleanup(func() {
		b.Close()
		goleak.VerifyNone(t, goleak.IgnoreCurrent())
	})
	return b
}

func (b *Builder) pids() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []int
	for w := range b.all {
		all = append(all, w.cmd.Process.Pid)
	}
	slices.Sort(all)
	return all
}

var small = tree("apps/kustomization.yaml", "resources: [a.yaml]\n", "apps/a.yaml", configMap("a", "1"))

// works is a build that succeeds, whatever came before.
func works(t *testing.T, b *Builder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := b.Build(ctx, small, App{Path: "apps", Name: bump.Name{Name: "works"}})
	if err != nil || names(s) != "ConfigMap/a<apps/a.yaml" {
		t.Errorf("the next build = %v, %v", s, err)
	}
}

// A worker makes of an app what this process makes of it.
func TestBuilderBuildsAsBuild(t *testing.T) {
	b := builder(t, BuilderOptions{})
	for _, c := range []struct {
		app  App
		tree fstest.MapFS
	}{
		{App{Path: "prod"}, tree("prod/kustomization.yaml", "bases: [../base]\nsecretGenerator: [{name: s, literals: [a=b]}]\n", "base/kustomization.yaml", "resources: [web.yaml]\n", "base/web.yaml", deployment)},
		{App{Path: "apps", TargetNamespace: "there"}, tree("apps/a.yaml", configMap("a", "1"), "apps/sub/b.yml", configMap("b", "1"), "apps/.hidden/d.yaml", configMap("d", "1"))},
		{App{}, tree("a.yaml", "apiVersion: example.com/v1\nkind: X\nmetadata: {name: x}\nspec: {a: yes, c: 1, d: 1.5, e: 12345678901234567890, g: ~}\n")},
		{App{Path: "prod", PostBuild: &PostBuild{Substitute: map[string]string{"v": "1"}}}, tree("prod/a.yaml", configMap("a", "${v}"))},
		{App{Path: "empty"}, tree("empty/README.md", "words")},
		{App{Path: "prod", Overlay: Overlay{NamePrefix: "p-", Patches: []Patch{{Patch: "[{op: add, path: /data/x, value: y}]", Target: &Selector{Kind: "ConfigMap"}}}, CommonMetadata: &CommonMetadata{Labels: map[string]string{"l": "v"}}}}, tree("prod/a.yaml", configMap("a", "1"))},
		{App{Path: "gone"}, small},
		{App{Path: "../x"}, small},
		{App{Path: "prod"}, tree("prod/kustomization.yaml", "resources: [https://example.com/x.yaml, nothing.yaml]\n")},
		{App{Path: "prod"}, tree("prod/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n")},
	} {
		want, wantErr := Build(t.Context(), c.tree, c.app)
		got, err := b.Build(t.Context(), c.tree, c.app)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("Build(%q) = %v, want %v", c.app.Path, err, wantErr)
		}
		if plainSet(got) != plainSet(want) {
			t.Errorf("Build(%q) =\n%s, want\n%s", c.app.Path, plainSet(got), plainSet(want))
		}
	}
	if n := len(b.pids()); n != 1 {
		t.Errorf("builds one after the other took %d processes", n)
	}
}

func plainSet(s *Set) string {
	if s == nil {
		return "nothing"
	}
	text := fmt.Sprint(s.Files, s.Dirs, s.Warnings, s.raw, s.texts)
	for _, m := range s.Objects {
		j, err := json.Marshal(m.Object)
		text += fmt.Sprintf("\n%s %s %v", m.where(), j, err)
	}
	return text
}

// Whoever gives Set or Manifest a field has to think of the wire.
func TestWireCarriesAllOfASet(t *testing.T) {
	for _, c := range []struct {
		is   reflect.Type
		want string
	}{
		{reflect.TypeFor[Set](), "Objects Files Dirs Warnings Plaintext raw texts"}, // Plaintext is told by Unsealing
		{reflect.TypeFor[Manifest](), "Object File Line hidden"},                    // hidden comes later, from variables
	} {
		var fields []string
		for f := range c.is.Fields() {
			fields = append(fields, f.Name)
		}
		if got := strings.Join(fields, " "); got != c.want {
			t.Errorf("%s has %s, the wire knows %s", c.is, got, c.want)
		}
	}
}

func TestB1PanicEndsTheBuildAlone(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	b := builder(t, BuilderOptions{Log: zap.New(core)})
	works(t, b)
	_, err := b.Build(t.Context(), small, App{Path: "panic"})
	if want := "build panic: kustomize panicked: boom; other apps go on; "; err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "second line") {
		t.Errorf("error = %v, want %s…", err, want)
	}
	if said := logs.FilterMessage("build process ended").All(); len(said) != 1 || !strings.Contains(fmt.Sprint(said[0].ContextMap()["said"]), "builder_test.go") {
		t.Errorf("the log has %v, want the stack once", said)
	}
	works(t, b)
	// An anchor that contains itself is more than a panic: nothing in a process survives it.
	cyclic := tree("apps/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: &a\n  b: *a\n")
	_, err = b.Build(t.Context(), cyclic, App{Path: "apps"})
	if err == nil || !strings.Contains(err.Error(), "look for a YAML anchor that contains itself") {
		t.Errorf("error = %v", err)
	}
	works(t, b)
}

func TestB2HangingBuildIsKilled(t *testing.T) {
	b := builder(t, BuilderOptions{Timeout: 5 * time.Second, Workers: 2})
	hangs := App{Path: "hang", Name: bump.Name{Name: "hangs"}}
	var wg sync.WaitGroup
	for range 2 { // both turns
		wg.Go(func() {
			_, err := b.Build(t.Context(), small, hangs)
			if err == nil || !strings.HasPrefix(err.Error(), "build hang: no end after 5s: the build was ended") {
				t.Errorf("error = %v", err)
			}
		})
	}
	works(t, b)
	wg.Wait()
	if n := len(b.pids()); n > 2 {
		t.Errorf("%d processes are left", n)
	}
	// From now on it may take one turn only, however long it takes.
	hangs.Timeout = bump.Duration(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	for range 3 {
		wg.Go(func() { _, _ = b.Build(ctx, small, hangs) })
	}
	for len(b.turns) == 0 {
		time.Sleep(time.Millisecond) // between two looks
	}
	for range 5 {
		works(t, b)
	}
	cancel()
	wg.Wait()
}

// B2: a tree that does not answer holds no turn either.
func TestB2HangingTree(t *testing.T) {
	b := builder(t, BuilderOptions{Timeout: 5 * time.Second, Workers: 1})
	stuck := stuckFS{small, make(chan struct{})}
	t.Cleanup(func() { close(stuck.end) })
	if _, err := b.Build(t.Context(), stuck, App{Path: "apps"}); err == nil || !strings.Contains(err.Error(), "no end after 5s") {
		t.Errorf("error = %v", err)
	}
	works(t, b)
}

type stuckFS struct {
	fstest.MapFS
	end chan struct{}
}

func (f stuckFS) ReadFile(string) ([]byte, error) {
	<-f.end
	return nil, io.EOF
}

// A file whose anchors multiply to 10^9 words.
func laughs() string {
	var s strings.Builder
	s.WriteString("apiVersion: example.com/v1\nkind: X\nmetadata: {name: a}\nspec:\n  a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&s, "  a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	return s.String()
}

func TestMemoryExplosionEndsTheBuildAlone(t *testing.T) {
	b := builder(t, BuilderOptions{Memory: 256 << 20})
	for _, path := range []string{"apps", "gulp"} { // bit by bit, and in one piece
		_, err := b.Build(t.Context(), tree("apps/a.yaml", laughs()), App{Path: path})
		if want := "build " + path + ": more than 256 MiB of memory: the build was ended"; err == nil || !strings.HasPrefix(err.Error(), want) {
			// The race detector's own memory is refused first.
			if err == nil || !strings.Contains(err.Error(), "ThreadSanitizer failed to allocate") {
				t.Errorf("error = %v, want %s…", err, want)
			}
		}
		works(t, b)
	}
}

// What comes back is bounded, too: it ends up in the daemon.
func TestLargeObjectsAreRefused(t *testing.T) {
	large := func(name string, size int) Manifest {
		o := &unstructured.Unstructured{Object: map[string]any{"kind": "ConfigMap", "data": strings.Repeat("x", size)}}
		o.SetName(name)
		return Manifest{Object: o, File: "a.yaml", Line: 1}
	}
	for _, c := range []struct {
		set  Set
		want string
	}{
		{Set{Objects: []Manifest{large("a", maxObject)}}, "a.yaml:1: ConfigMap/a is larger than 3 MiB, more than any API server takes"},
		{Set{Objects: []Manifest{large("a", 1<<20), large("b", 1<<20)}}, "the objects are more than 2 MiB together: split the app, or raise --build-memory, of which they may have a sixteenth"},
		{Set{Objects: []Manifest{large("a", 1<<20)}}, "<nil>"},
	} {
		if err := writeSet(io.Discard, &c.set, 2<<20); fmt.Sprint(err) != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	b := builder(t, BuilderOptions{})
	huge := fstest.MapFS{"huge/a.yaml": &fstest.MapFile{Data: make([]byte, maxFile+1)}}
	if _, err := b.Build(t.Context(), huge, App{Path: "huge"}); err == nil || !strings.Contains(err.Error(), "huge/a.yaml: is larger than 32 MiB") {
		t.Errorf("a huge file: %v", err)
	}
	works(t, b)
}

func TestWorkerReachesNothing(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	b := builder(t, BuilderOptions{})
	if _, err := b.Build(t.Context(), small, App{Path: "reach"}); err == nil || err.Error() != "build reach: tried" {
		t.Errorf("%v", err)
	}
	if _, err := b.Build(t.Context(), os.DirFS("."), App{Path: "escape"}); err == nil || !strings.Contains(err.Error(), `"../../etc/passwd" is no path of the repository`) {
		t.Errorf("escape = %v", err)
	}
}

func TestWorkerEndedFromOutside(t *testing.T) {
	b := builder(t, BuilderOptions{})
	works(t, b)
	for _, pid := range b.pids() { // while it waits
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	works(t, b)
	before := b.pids()
	once := killOnce{small, b, &sync.Once{}} // in the middle of a build
	if s, err := b.Build(t.Context(), once, App{Path: "apps"}); err != nil || len(s.Objects) != 1 {
		t.Errorf("a build whose worker was killed once: %v", err)
	}
	if slices.Equal(before, b.pids()) {
		t.Error("nothing was killed")
	}
	if _, err := b.Build(t.Context(), small, App{Path: "die"}); err == nil || !strings.Contains(err.Error(), "its process was ended twice by somebody else (killed)") {
		t.Errorf("killed again and again: %v", err)
	}
	for _, c := range []struct{ path, want string }{
		{"exit", "build exit: its process ended (exit status 7)"},
		{"lie", "a message is too long"},
	} {
		if _, err := b.Build(t.Context(), small, App{Path: c.path}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.path, err, c.want)
		}
	}
	works(t, b)
}

// killOnce kills the workers at the first file that is read.
type killOnce struct {
	fstest.MapFS
	b    *Builder
	once *sync.Once
}

func (f killOnce) ReadFile(name string) ([]byte, error) {
	f.once.Do(func() {
		for _, pid := range f.b.pids() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return f.MapFS.ReadFile(name)
}

// A parent that is killed says nothing: its end of the pipe is closed, and that ends the worker in the middle of a build.
func TestWorkerEndsWithItsBuilder(t *testing.T) {
	b := builder(t, BuilderOptions{})
	building := askedFS{small, make(chan struct{}, 1)}
	failed := make(chan error, 1)
	go func() {
		_, err := b.Build(t.Context(), building, App{Path: "hang"})
		failed <- err
	}()
	<-building.asked
	b.mu.Lock()
	var w *worker
	for w = range b.all {
	}
	b.mu.Unlock()
	w.in.Close()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "its process ended (exit status 0)") {
		t.Errorf("error = %v", err)
	}
}

type askedFS struct {
	fstest.MapFS
	asked chan struct{}
}

func (f askedFS) Lstat(name string) (fs.FileInfo, error) {
	f.asked <- struct{}{}
	return f.MapFS.Lstat(name)
}

func TestBuilderCancelled(t *testing.T) {
	b := builder(t, BuilderOptions{Workers: 1})
	ctx, cancel := context.WithCancel(t.Context())
	busy := stuckFS{small, make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := b.Build(ctx, busy, App{Path: "apps"}); !errors.Is(err, context.Canceled) {
			t.Errorf("under way: %v", err)
		}
	})
	waiting, giveUp := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer giveUp()
	for len(b.turns) == 0 {
		time.Sleep(time.Millisecond) // between two looks
	}
	if _, err := b.Build(waiting, small, App{Path: "apps"}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "wait for another build") {
		t.Errorf("waiting: %v", err)
	}
	cancel()
	wg.Wait()
	close(busy.end)
	works(t, b)
}

func TestIdleWorkerEnds(t *testing.T) {
	b := builder(t, BuilderOptions{Idle: 50 * time.Millisecond})
	works(t, b)
	for deadline := time.Now().Add(20 * time.Second); len(b.pids()) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the process stays")
		}
		time.Sleep(time.Millisecond) // between two looks
	}
	works(t, b)
	b.Close()
	if _, err := b.Build(t.Context(), small, App{Path: "apps"}); err == nil || !strings.Contains(err.Error(), "hoist is stopping") {
		t.Errorf("after Close: %v", err)
	}
}

// Warm starts one process, and the next build has it.
func TestWarmWorkerIsTaken(t *testing.T) {
	b := builder(t, BuilderOptions{})
	b.Warm()
	var warm []int
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) { // between two looks
		b.mu.Lock()
		ready := len(b.idle)
		b.mu.Unlock()
		if warm = b.pids(); ready == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no process is ready")
		}
	}
	b.Warm()
	works(t, b)
	if got := b.pids(); !slices.Equal(got, warm) {
		t.Errorf("processes %v, want %v", got, warm)
	}
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"hoist/testenv"
	"hoist/testenv/cluster"
	"hoist/testenv/imagesigner"
	"hoist/testenv/unsealer"
)

const scripts = "../../testdata/script"

// waitLimit is how long a script waits for something to become true. It is long
// because machines are slow at times; nothing takes a hundredth of it.
const waitLimit = 90 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"hoist": main})
}

// tests are those of the package, with the shared control plane ended after them.
type tests struct{ *testing.M }

func (t tests) Run() int {
	code := t.M.Run()
	if err := testenv.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// TestScripts runs the stories of testdata/script against real registries, Git
// servers and, but for -short, a real control plane.
func TestScripts(t *testing.T) {
	all, err := filepath.Glob(scripts + "/*.txt")
	if err != nil || len(all) == 0 {
		t.Fatalf("no scripts in %s: %v", scripts, err)
	}
	var files []string
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		needsParts := bytes.Contains(text, []byte("\ncluster use\n")) || bytes.Contains(text, []byte("\nregistry "))
		if !testing.Short() || !needsParts {
			files = append(files, file)
		}
	}
	var shared *cluster.Cluster
	if !testing.Short() {
		shared = testenv.Cluster(t)
	}
	testscript.Run(t, testscript.Params{
		Files: files,
		Setup: func(env *testscript.Env) error { return newWorld(shared, env) },
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"registry": cmdRegistry,
			"gitrepo":  cmdGitrepo,
			"cluster":  cmdCluster,
			"sealing":  cmdSealing,
			"proxy":    cmdProxy,
			"sops":     cmdSops,
			"get":      cmdGet,
			"post":     cmdPost,
			"capture":  cmdCapture,
		},
	})
}

// world is what surrounds one script: everything is started at its first use
// and ends with the script.
type world struct {
	env      *testscript.Env
	shared   *cluster.Cluster
	registry *scriptRegistry
	git      *scriptGit
	cluster  *scriptCluster
	far      map[string]*scriptCluster
	proxies  map[string]*scriptProxy
	signers  map[string]*imagesigner.Signer
	unsealer *unsealer.Controller

	recipients map[string]string // of sops, by the folder of the key
}

func newWorld(shared *cluster.Cluster, env *testscript.Env) error {
	env.Values["world"] = &world{env: env, shared: shared, far: make(map[string]*scriptCluster), proxies: make(map[string]*scriptProxy), signers: make(map[string]*imagesigner.Signer), recipients: make(map[string]string)}
	env.Setenv("HOIST_DATA_DIR", filepath.Join(env.WorkDir, ".cache"))
	env.Setenv("DOCKER_CONFIG", filepath.Join(env.WorkDir, ".docker"))
	// a day of the week that is neither today nor soon
	if err := expand(env.WorkDir, "OTHERDAY", time.Now().UTC().AddDate(0, 0, 3).Format("Mon")); err != nil {
		return err
	}
	for _, name := range []string{"API", "HEALTH", "HOOK"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		env.Setenv(name, ln.Addr().String())
		if err := expand(env.WorkDir, name, ln.Addr().String()); err != nil {
			return err
		}
		env.Defer(func() { _ = ln.Close() })
		if err := ln.Close(); err != nil {
			return err
		}
	}
	return nil
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value("world").(*world) }

// tell gives a name to scripts ($NAME on their lines) and writes its value into
// their files.
func (w *world) tell(ts *testscript.TestScript, name, value string) {
	ts.Setenv(name, value)
	ts.Check(expand(w.env.WorkDir, name, value))
}

// expand replaces $name in the files below dir.
func expand(dir, name, value string) error {
	word := regexp.MustCompile(`\$` + name + `\b`)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != dir {
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil || !word.Match(text) {
			return err
		}
		return os.WriteFile(path, word.ReplaceAllLiteral(text, []byte(value)), 0o644)
	})
}

// write puts files below the script's folder.
func (w *world) write(ts *testscript.TestScript, files map[string][]byte) {
	for name, content := range files {
		path := filepath.Join(w.env.WorkDir, name)
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
		ts.Check(os.WriteFile(path, content, 0o600))
	}
}

// cmdCapture gives what a group matches in the last output a name: capture NAME REGEXP.
func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 2 && !neg, "capture NAME REGEXP")
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	expect(ts, neg, len(m) == 2, "no match for `%s` with one group in the output", args[1])
	ts.Setenv(args[0], m[1])
}

// eventually waits until ok. last says what was seen instead, for the failure.
func eventually(ts *testscript.TestScript, what string, ok func() (bool, string)) {
	deadline := time.Now().Add(waitLimit)
	for {
		done, last := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: not within %v; last seen:\n%s", what, waitLimit, last)
		}
		time.Sleep(20 * time.Millisecond) // between two looks at the world
	}
}

func usage(ts *testscript.TestScript, ok bool, text string) {
	if !ok {
		ts.Fatalf("usage: %s", text)
	}
}

func expect(ts *testscript.TestScript, neg, got bool, format string, args ...any) {
	if got == neg {
		ts.Fatalf("%s", fmt.Sprintf(format, args...))
	}
}

func ctx() context.Context { return context.Background() }

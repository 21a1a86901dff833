package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestReport runs go test in a module of its own that has one of everything.
func TestReport(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles")
	}
	got, ok := reportOf(t, map[string]string{
		"good/a_test.go": `package good
import "testing"
func TestPlain(t *testing.T) { t.Log("not shown") }
func TestParent(t *testing.T) {
	t.Run("one", func(t *testing.T) {})
	t.Run("two", func(t *testing.T) { t.Skip("no moon tonight") })
}
`,
		"bad/b_test.go": `package bad
import "testing"
func TestParent(t *testing.T) {
	t.Run("one", func(t *testing.T) {})
	t.Run("two", func(t *testing.T) { t.Error("got 1, want 2") })
}
func TestAlone(t *testing.T) {
	t.Run("fine", func(t *testing.T) {})
	t.Error("the parent itself")
}
`,
		"broken/c_test.go": "package broken\n\nimport \"testing\"\n\nfunc TestC(t *testing.T) { undefinedThing() }\n",
		"crash/d_test.go":  "package crash\n\nimport \"testing\"\n\nfunc TestD(t *testing.T) { panic(\"boom\") }\n",
		"early/e_test.go":  "package early\n\nimport (\"os\"; \"testing\")\n\nfunc TestMain(m *testing.M) { println(\"no room\"); os.Exit(3) }\n",
		"none/f.go":        "package none\n",
	})
	if ok {
		t.Error("all is well, says the report")
	}
	want := []string{
		`(?m)^ok    m/good +\d+\.\ds  2 passed, 0 failed, 1 skipped$`,
		`(?m)^FAIL  m/bad +\d+\.\ds  2 passed, 2 failed$`,
		`(?m)^FAIL  m/broken +\d+\.\ds  0 passed, 1 failed$`,
		`(?m)^FAIL  m/crash +\d+\.\ds  0 passed, 1 failed$`,
		`(?m)^FAIL  m/early +\d+\.\ds  0 passed, 1 failed$`,
		`(?m)^-     m/none `,
		`(?m)^1 test skipped:\n  m/good TestParent/two: a_test.go:6: no moon tonight$`,
		`(?m)^FAIL m/bad TestParent/two \(\d\.\d\ds\)\n      b_test.go:5: got 1, want 2$`,
		`(?m)^FAIL m/bad TestAlone \(\d\.\d\ds\)\n      b_test.go:9: the parent itself$`,
		`(?m)^FAIL m/broken \(does not build\)\n  # m/broken .*\n  broken/c_test.go:5:28: undefined: undefinedThing$`,
		`(?m)^FAIL m/crash TestD .*\n(.*\n)*  panic: boom`,
		`(?m)^FAIL m/early\n  no room$`,
		`\n6 packages, .*\n4 passed, 5 failed, 1 skipped\n$`,
	}
	for _, w := range want {
		if !regexp.MustCompile(w).MatchString(got) {
			t.Errorf("no %s", w)
		}
	}
	if strings.Contains(got, "not shown") {
		t.Error("the words of a passing test are shown")
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestReportOfNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles")
	}
	got, ok := reportOf(t, map[string]string{"none/f.go": "package none\n"})
	if ok || !strings.HasSuffix(got, "no test ran\n0 passed, 0 failed\n") {
		t.Errorf("%v\n%s", ok, got)
	}
}

func TestReportOfSuccess(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	err := r.read(strings.NewReader(`go: something that is no event
{"Action":"run","Package":"m","Test":"TestA"}
{"Action":"output","Package":"m","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"m","Test":"TestA","Elapsed":1}
{"Action":"pass","Package":"m","Elapsed":1.25}`))
	if err != nil {
		t.Fatal(err)
	}
	r.finish(1500 * time.Millisecond)
	want := "go: something that is no event\nok    m                                    1.2s  1 passed, 0 failed\n\n1 package, 1.5s\n1 passed, 0 failed\n"
	if got := out.String(); got != want || !r.ok() {
		t.Errorf("%v %q, want %q", r.ok(), got, want)
	}
}

func reportOf(t *testing.T, files map[string]string) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module m\n\ngo 1.26.0\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-json", "./...")
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	r := newReport(&got)
	if err := r.read(out); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // tests fail in there
	r.finish(time.Second)
	return got.String(), r.ok()
}

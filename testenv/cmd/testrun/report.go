package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// report gathers the events of go test -json (go doc test2json). It counts tests
// that have no subtests of their own.
type report struct {
	out      io.Writer
	packages map[string]*pkg
	builds   map[string]*strings.Builder // by import path

	passed, failed, skipped int
	failures                []failure
	skips                   []string
}

type pkg struct {
	name   string
	tests  map[string]*test
	output strings.Builder // of the package itself
}

type test struct {
	name   string
	result string // pass, fail, skip; empty while it runs
	took   float64
	output strings.Builder
}

// failure is a failed test, or a package that failed by itself.
type failure struct {
	title, output string
}

type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

func newReport(out io.Writer) *report {
	return &report{out: out, packages: map[string]*pkg{}, builds: map[string]*strings.Builder{}}
}

// read takes in events until the end. Lines that are none are shown.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				fmt.Fprintf(r.out, "%s", line)
			} else {
				r.take(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) take(e event) {
	if e.ImportPath != "" { // build-output and build-fail
		b := r.builds[e.ImportPath]
		if b == nil {
			b = &strings.Builder{}
			r.builds[e.ImportPath] = b
		}
		b.WriteString(e.Output)
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &pkg{name: e.Package, tests: map[string]*test{}}
		r.packages[e.Package] = p
	}
	if e.Test == "" {
		switch e.Action {
		case "output":
			p.output.WriteString(e.Output)
		case "pass", "fail", "skip":
			r.end(p, e)
		}
		return
	}
	t := p.tests[e.Test]
	if t == nil {
		t = &test{name: e.Test}
		p.tests[e.Test] = t
	}
	switch e.Action {
	case "run":
		t.result = "" // with -count a test runs again
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			t.output.WriteString(e.Output)
		}
	case "pass":
		if t.result != "fail" {
			t.result = "pass"
		}
		t.took += e.Elapsed
		t.output.Reset()
	case "fail", "skip":
		t.result = e.Action
		t.took += e.Elapsed
	}
}

// end settles a package and says its line.
func (r *report) end(p *pkg, e event) {
	var passed, failed, skipped int
	for _, name := range slices.Sorted(maps.Keys(p.tests)) {
		t := p.tests[name]
		if p.hasSubtests(name) {
			// It counts only when it failed by itself, beside its subtests.
			if t.result != "fail" || p.subtestFailed(name) {
				continue
			}
		}
		switch t.result {
		case "pass":
			passed++
		case "skip":
			skipped++
			r.skips = append(r.skips, fmt.Sprintf("%s %s: %s", p.name, name, reason(t.output.String())))
		default:
			failed++
			ending := fmt.Sprintf("(%.2fs)", t.took)
			if t.result == "" {
				ending = "(did not end)"
			}
			r.failures = append(r.failures, failure{fmt.Sprintf("%s %s %s", p.name, name, ending), t.output.String()})
		}
	}
	if e.Action == "fail" && failed == 0 { // did not build, or ended outside of a test
		failed++
		f := failure{p.name, p.output.String()}
		if b := r.builds[e.FailedBuild]; b != nil {
			f = failure{p.name + " (does not build)", b.String()}
		}
		r.failures = append(r.failures, f)
	} else if e.Action == "fail" && p.crashed() {
		r.failures[len(r.failures)-1].output += p.output.String()
	}
	r.passed, r.failed, r.skipped = r.passed+passed, r.failed+failed, r.skipped+skipped
	word := "ok"
	switch {
	case failed > 0:
		word = "FAIL"
	case passed+skipped == 0:
		word = "-"
	}
	fmt.Fprintf(r.out, "%-5s %-32s %7.1fs  %s\n", word, p.name, e.Elapsed, count(passed, failed, skipped))
}

func (p *pkg) hasSubtests(name string) bool {
	for other := range p.tests {
		if strings.HasPrefix(other, name+"/") {
			return true
		}
	}
	return false
}

func (p *pkg) subtestFailed(name string) bool {
	for other, t := range p.tests {
		if strings.HasPrefix(other, name+"/") && (t.result == "fail" || t.result == "") {
			return true
		}
	}
	return false
}

// crashed tells whether a panic or a timeout took the tests with it.
func (p *pkg) crashed() bool {
	for _, t := range p.tests {
		if t.result == "" {
			return true
		}
	}
	return false
}

// ok tells whether tests ran and none failed.
func (r *report) ok() bool { return r.failed == 0 && r.passed > 0 }

// finish says what failed and what was skipped, and the sum on the last line.
func (r *report) finish(took time.Duration) {
	for _, f := range r.failures {
		fmt.Fprintf(r.out, "\nFAIL %s\n", f.title)
		for line := range strings.Lines(strings.TrimRight(f.output, "\n") + "\n") {
			fmt.Fprintf(r.out, "  %s", line)
		}
	}
	if len(r.failures) > 1 { // the output above may be long
		fmt.Fprintln(r.out)
		for _, f := range r.failures {
			fmt.Fprintf(r.out, "FAIL %s\n", f.title)
		}
	}
	if len(r.skips) > 0 {
		fmt.Fprintf(r.out, "\n%s skipped:\n", plural(len(r.skips), "test"))
		for _, s := range r.skips {
			fmt.Fprintf(r.out, "  %s\n", s)
		}
	}
	fmt.Fprintf(r.out, "\n%s, %v\n", plural(len(r.packages), "package"), took.Round(100*time.Millisecond))
	if r.passed+r.failed == 0 {
		fmt.Fprintln(r.out, "no test ran")
	}
	fmt.Fprintln(r.out, cmp.Or(count(r.passed, r.failed, r.skipped), "0 passed, 0 failed"))
}

func count(passed, failed, skipped int) string {
	if passed+failed+skipped == 0 {
		return ""
	}
	s := fmt.Sprintf("%d passed, %d failed", passed, failed)
	if skipped > 0 {
		s += fmt.Sprintf(", %d skipped", skipped)
	}
	return s
}

// reason is what a test said when it skipped: the last line but its verdict.
func reason(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	for _, l := range slices.Backward(lines) {
		if l = strings.TrimSpace(l); !strings.HasPrefix(l, "---") && l != "" {
			return l
		}
	}
	return "no reason given"
}

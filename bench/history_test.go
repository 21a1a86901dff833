package bench

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"hoist/bump"
	"hoist/daemon"
	"hoist/gitpush"
)

// historyRepository makes a bare repository with n commits by git fast-import:
// every second one is a bump of one of 200 fields, the others are of persons.
func historyRepository(b *testing.B, n int) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "history.git")
	if out, err := exec.Command("git", "init", "-q", "--bare", "-b", "main", dir).CombinedOutput(); err != nil {
		b.Fatal(err, string(out))
	}
	cmd := exec.Command("git", "-C", dir, "fast-import", "--quiet")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		w := bufio.NewWriter(in)
		writeHistory(w, n)
		w.Flush()
		in.Close()
	}()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatal(err, string(out))
	}
	return dir
}

const historyFields = 200

// writeHistory writes the stream of n commits; the first one has the files.
func writeHistory(w io.Writer, n int) {
	data := func(text string) { fmt.Fprintf(w, "data %d\n%s\n", len(text), text) }
	file := func(i int) string { return fmt.Sprintf("apps/%02d/%02d.yaml", i/20, i%20) }
	text := func(i, v int) string {
		return fmt.Sprintf("kind: Pod\ntag: 1.%d.0 # {\"$imagepolicy\": \"hoist:p%d:tag\"}\n", v, i)
	}
	for k := range n {
		who := "Ann <ann@example.com>"
		if k > 0 && k%2 == 0 {
			who = "Hoist <hoist@example.com>"
		}
		fmt.Fprintf(w, "commit refs/heads/main\ncommitter %s %d +0000\n", who, 1_700_000_000+60*k)
		i, v := k/2%historyFields, k/2/historyFields
		switch {
		case k == 0:
			data("start")
			for i := range historyFields {
				fmt.Fprintf(w, "M 100644 inline %s\n", file(i))
				data(text(i, 0))
			}
		case k%2 == 0:
			data(fmt.Sprintf("Update p%[1]d to 1.%[3]d.0\n\n%[4]s:2: 1.%[2]d.0 -> 1.%[3]d.0\n\nBump-Image: registry.example.com/p%[1]d\nBump-From: 1.%[2]d.0\n"+
				"Bump-To: 1.%[3]d.0\nBump-Policy: hoist:p%[1]d\nBump-Field: %[4]s:2 tag\nBump-Trigger: poll\n", i, v, v+1, file(i)))
			fmt.Fprintf(w, "M 100644 inline %s\n", file(i))
			data(text(i, v+1))
		default:
			data(fmt.Sprintf("work on something, %d\n\nA few words about it.\n", k))
			fmt.Fprintf(w, "M 100644 inline docs/%03d.md\n", k%500)
			data(fmt.Sprint(k))
		}
	}
}

func historyMirror(b *testing.B, dir string) *gitpush.Mirror {
	b.Helper()
	m, err := gitpush.Open(b.TempDir(), gitpush.Repository{Name: bump.Name{Namespace: "bench", Name: "fleet"}, URL: "file://" + dir, Branch: "main"}, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	return m
}

// BenchmarkHistory reads 100,000 commits: what the daemon does at its start
// ("cold"), after three new commits ("three"), and what `hoist history` and
// `hoist history --since` do in a clone.
func BenchmarkHistory(b *testing.B) {
	const commits = 100_000
	dir := historyRepository(b, commits)
	m := historyMirror(b, dir)
	head, err := m.Fetch(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	read := func(b *testing.B, o gitpush.HistoryOptions, want int) {
		list, err := m.History(b.Context(), head, o)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for _, err := range list {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != want {
			b.Fatalf("%d entries, want %d", n, want)
		}
	}
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			read(b, gitpush.HistoryOptions{}, commits/2-1)
			for _, err := range m.Steps(b.Context(), head, "", 1000) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("three", func(b *testing.B) {
		until := head.Hash
		for range 3 {
			for s, err := range m.Steps(b.Context(), bump.Head{Hash: until}, "", 1) {
				if err != nil {
					b.Fatal(err)
				}
				until = s.Parent
			}
		}
		for b.Loop() {
			read(b, gitpush.HistoryOptions{Until: until}, 1)
		}
	})
	clone, err := gitpush.OpenClone(dir)
	if err != nil {
		b.Fatal(err)
	}
	audit := func(b *testing.B, o gitpush.HistoryOptions) {
		list, err := daemon.Audit(b.Context(), clone, head, o)
		if err != nil {
			b.Fatal(err)
		}
		for _, err := range list {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("verb", func(b *testing.B) {
		for b.Loop() {
			audit(b, gitpush.HistoryOptions{})
		}
	})
	b.Run("verb-since", func(b *testing.B) {
		newest := 1_700_000_000 + 60*int64(commits)
		for b.Loop() {
			audit(b, gitpush.HistoryOptions{Since: time.Unix(newest-60*1000, 0)})
		}
	})
}

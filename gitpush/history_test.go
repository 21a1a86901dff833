package gitpush

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"hoist/bump"
)

// N4: the history is told by Git alone, the same in the mirror and in any clone.
func TestHistory(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	push := func(path, text string, when time.Time, vs ...bump.Verdict) bump.Commit {
		t.Helper()
		d := write(t, m, h, path, text)
		d.Time = when
		d.Message, _ = Message("", NewData(apps, vs, nil, "webhook"))
		commits, err := m.Push(t.Context(), h, []Draft{d})
		if err != nil {
			t.Fatal(err)
		}
		h = commits[0].Head
		return commits[0]
	}
	day := time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	zeroth := h.Hash
	first := push(web, "1\n", day, webUp)
	s.humanCommit("by hand\n\nSigned-off-by: Ann", map[string]string{"README.md": "x\n"})
	h = fetch(t, m)
	third := h.Hash
	webFields := []Field{{"apps/web.yaml", 14, "spec.containers[0].image", FieldID(webUp.Site)}}
	apiFields := []Field{{"apps/api.yaml", 9, "spec.containers[0].image", FieldID(apiUp.Site)}}
	second := push(web, "2\n", day.AddDate(0, 0, 2), webUp, apiUp)
	want := []Entry{
		{Kind: Bumped, Parent: third, Commit: second.Head.Hash, Time: second.Time, Author: Author{"Hoist", "hoist@example.com"}, Subject: "Update web, api", Policy: webUp.Site.Policy,
			Image: "example.com/web", From: "1.4.2", To: "1.4.3", Fields: webFields, Trigger: "webhook"},
		{Kind: Bumped, Parent: third, Commit: second.Head.Hash, Time: second.Time, Author: Author{"Hoist", "hoist@example.com"}, Subject: "Update web, api", Policy: apiUp.Site.Policy,
			Image: "api", From: "2.0.0", To: "2.1.0", Fields: apiFields, Trigger: "webhook"},
		{Kind: Bumped, Parent: zeroth, Commit: first.Head.Hash, Time: first.Time, Author: Author{"Hoist", "hoist@example.com"}, Subject: "Update web to 1.4.3", Policy: webUp.Site.Policy,
			Image: "example.com/web", From: "1.4.2", To: "1.4.3", Fields: webFields, Trigger: "webhook"},
	}
	check := func(name string, list []Entry, err error, want ...Entry) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range list {
			list[i].Time = list[i].Time.UTC()
		}
		if len(list) != len(want) || len(list) > 0 && !reflect.DeepEqual(list, want) {
			t.Errorf("%s = %+v\nwant %+v", name, list, want)
		}
	}
	all, err := collect(t, m, h, HistoryOptions{})
	check("mirror", all, err, want...)
	for name, o := range map[string]HistoryOptions{"policy": {Policy: "hoist:api"}, "short policy": {Policy: "a*"}, "image": {Image: "api"}, "file": {File: "apps/a*"}} {
		list, err := collect(t, m, h, o)
		check(name, list, err, want[1])
	}
	list, err := collect(t, m, h, HistoryOptions{Image: "*web"})
	check("image pattern", list, err, want[0], want[2])
	list, err = collect(t, m, h, HistoryOptions{Since: day.AddDate(0, 0, 1)})
	check("since", list, err, want[0], want[1])
	if _, err := m.History(t.Context(), h, HistoryOptions{Policy: "[x"}); err == nil {
		t.Error("bad pattern: no error")
	}

	// In clones: the root, a directory below it, a linked work tree, bare, shallow.
	w := s.worktree()
	linked, shallow := filepath.Join(t.TempDir(), "linked"), filepath.Join(t.TempDir(), "shallow")
	runGit(t, w, "worktree", "add", "-q", linked)
	runGit(t, "", "clone", "-q", "--depth", "1", "file://"+s.bare, shallow)
	for path, want := range map[string][]Entry{w: want, filepath.Join(w, "apps/web"): want, linked: want, s.bare: want, shallow: want[:2]} {
		c, err := OpenClone(path)
		if err != nil {
			t.Fatal(err)
		}
		at, err := c.Head("")
		if err != nil {
			t.Fatal(err)
		}
		list, err := collect(t, c, at, HistoryOptions{})
		check(path, list, err, want...)
	}
	c, err := OpenClone(shallow)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := c.Head("main"); err != nil || at.Hash != s.head() {
		t.Errorf("Head(main) = %v, %v", at, err)
	}
	if _, err := c.Head("none"); !errors.Is(err, ErrNoBranch) {
		t.Errorf("Head(none) = %v, want ErrNoBranch", err)
	}
}

func TestOpenCloneNowhere(t *testing.T) {
	if _, err := OpenClone(t.TempDir()); err == nil {
		t.Error("OpenClone of an empty directory: no error")
	}
	empty := t.TempDir()
	runGit(t, empty, "init", "-q")
	c, err := OpenClone(empty)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Head(""); !errors.Is(err, ErrEmpty) {
		t.Errorf("Head = %v, want ErrEmpty", err)
	}
	if _, err := os.Stat(filepath.Join(empty, ".git", "objects")); err != nil {
		t.Error(err)
	}
}

func collect(t *testing.T, from interface {
	History(context.Context, bump.Head, HistoryOptions) (iter.Seq2[Entry, error], error)
}, h bump.Head, o HistoryOptions) ([]Entry, error) {
	t.Helper()
	seq, err := from.History(t.Context(), h, o)
	if err != nil {
		return nil, err
	}
	var list []Entry
	for e, err := range seq {
		if err != nil {
			return list, err
		}
		list = append(list, e)
	}
	return list, nil
}

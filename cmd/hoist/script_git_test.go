package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"hoist/testenv/gitserver"
)

// scriptGit is the Git server of a script, with the folders that persons work in.
type scriptGit struct {
	*gitserver.Server
	files map[string]map[string]string // by repository: what persons pushed last
}

const gitUsage = "gitrepo init|push|clone|revert|rewind|hold|held|release|log|wait|commits|cmp|rekey …"

// cmdGitrepo is what persons do with a repository:
//
//	gitrepo init NAME             a bare repository with the files below NAME/
//	gitrepo push NAME MESSAGE     commit NAME/ as it is now, beside what Hoist changed
//	gitrepo clone NAME DIR [OPTION…]   a clone, as a person has it
//	gitrepo revert NAME           git revert of the newest commit
//	gitrepo rewind NAME N         force the branch N commits back
//	gitrepo hold|held|release NAME   stop the next push in the server, wait for it, let it go on
//	[!] gitrepo log NAME REGEXP   search the log
//	gitrepo wait NAME REGEXP      wait until the log has it
//	gitrepo commits NAME N        count the commits
//	gitrepo cmp NAME PATH FILE    compare a file on main
//	gitrepo rekey                 give the SSH server another host key
func cmdGitrepo(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) > 0, gitUsage)
	w := worldOf(ts)
	g := w.gitServer(ts)
	verb, args := args[0], args[1:]
	switch {
	case verb == "rekey":
		ts.Check(g.ChangeHostKey())
	case verb == "init" && len(args) == 1:
		files := g.read(ts, filepath.Join(w.env.WorkDir, args[0]))
		ts.Check(g.Init(args[0], files))
		g.files[args[0]] = files
	case verb == "push" && len(args) == 2:
		g.push(ts, w, args[0], args[1])
	case verb == "clone" && len(args) >= 2:
		ts.Check(runGit(append([]string{"clone", "-q", "file://" + g.Path(args[0]), ts.MkAbs(args[1])}, args[2:]...)...))
	case verb == "revert" && len(args) == 1:
		ts.Check(g.revert(args[0], ts.MkAbs(".revert")))
	case verb == "rewind" && len(args) == 2:
		_, err := g.Git(args[0], "update-ref", "refs/heads/main", "main~"+args[1])
		ts.Check(err)
	case verb == "hold" && len(args) == 1:
		ts.Check(g.Hook(args[0], "pre-receive", "#!/bin/sh\ntouch holding\nwhile [ ! -e go ]; do sleep 0.02; done\n"))
	case verb == "held" && len(args) == 1:
		eventually(ts, "a push to hold", func() (bool, string) {
			_, err := os.Stat(filepath.Join(g.Path(args[0]), "holding"))
			return err == nil, "no push"
		})
	case verb == "release" && len(args) == 1:
		ts.Check(os.WriteFile(filepath.Join(g.Path(args[0]), "go"), nil, 0o600))
	case verb == "log" && len(args) == 2:
		log := g.log(ts, args[0])
		expect(ts, neg, regexp.MustCompile("(?m)"+args[1]).MatchString(log), "log of %s and %q:\n%s", args[0], args[1], log)
	case verb == "wait" && len(args) == 2:
		re := regexp.MustCompile("(?m)" + args[1])
		eventually(ts, "log of "+args[0], func() (bool, string) {
			log := g.log(ts, args[0])
			return re.MatchString(log), log
		})
	case verb == "commits" && len(args) == 2:
		n, err := g.Git(args[0], "rev-list", "--count", "main")
		ts.Check(err)
		want, err := strconv.Atoi(args[1])
		ts.Check(err)
		expect(ts, neg, n == strconv.Itoa(want), "%s has %s commits, want %d:\n%s", args[0], n, want, g.log(ts, args[0]))
	case verb == "cmp" && len(args) == 3:
		got := g.show(ts, args[0], args[1])
		want := ts.ReadFile(args[2])
		expect(ts, neg, got == want, "%s in %s:\n%s\nwant:\n%s", args[1], args[0], got, want)
	default:
		usage(ts, false, gitUsage)
	}
}

func (w *world) gitServer(ts *testscript.TestScript) *scriptGit {
	if w.git != nil {
		return w.git
	}
	const user, password = "bot", "git-password"
	s, err := gitserver.Start(gitserver.Options{Users: map[string]string{user: password}})
	ts.Check(err)
	w.env.Defer(func() { _ = s.Close() })
	w.git = &scriptGit{Server: s, files: make(map[string]map[string]string)}
	w.tell(ts, "GIT", strings.TrimSuffix(s.URL("x"), "/x.git"))
	w.tell(ts, "GITSSH", s.SSHURL("fleet"))
	w.write(ts, map[string][]byte{
		"git-secret/username":    []byte(user),
		"git-secret/password":    []byte(password),
		"ssh-secret/identity":    s.ClientKey(),
		"ssh-secret/known_hosts": []byte(s.KnownHosts()),
	})
	return w.git
}

func (g *scriptGit) read(ts *testscript.TestScript, dir string) map[string]string {
	files := make(map[string]string)
	ts.Check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(rel)] = string(text)
		return err
	}))
	return files
}

// push commits what a person changed since their last push; files that they
// left alone stay as they are on main.
func (g *scriptGit) push(ts *testscript.TestScript, w *world, repo, message string) {
	before, now := g.files[repo], g.read(ts, filepath.Join(w.env.WorkDir, repo))
	changed := make(map[string]string)
	for name, text := range now {
		if old, ok := before[name]; !ok || old != text {
			changed[name] = text
		}
	}
	var removed []string
	for name := range before {
		if _, ok := now[name]; !ok {
			removed = append(removed, name)
		}
	}
	_, err := g.Commit(repo, message, changed, removed...)
	ts.Check(err)
	g.files[repo] = now
}

// revert does what a person does in a clone: git revert HEAD, git push.
func (g *scriptGit) revert(repo, dir string) error {
	if err := os.RemoveAll(dir); err != nil { // of the revert before
		return err
	}
	for _, args := range [][]string{
		{"clone", "-q", g.Path(repo), dir},
		{"-C", dir, "-c", "user.name=A Person", "-c", "user.email=person@example.com", "revert", "--no-edit", "HEAD"},
		{"-C", dir, "push", "-q", "origin", "main"},
	} {
		if err := runGit(args...); err != nil {
			return err
		}
	}
	return nil
}

func runGit(args ...string) error {
	if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("git %v: %w\n%s", args, err, out)
	}
	return nil
}

func (g *scriptGit) log(ts *testscript.TestScript, repo string) string {
	out, err := g.Git(repo, "log", "main")
	ts.Check(err)
	return out
}

// show returns a file on main, byte for byte.
func (g *scriptGit) show(ts *testscript.TestScript, repo, path string) string {
	out, err := g.Git(repo, "cat-file", "-s", "main:"+path)
	ts.Check(err)
	size, err := strconv.Atoi(out)
	ts.Check(err)
	text, err := g.Git(repo, "cat-file", "blob", "main:"+path)
	ts.Check(err)
	// Git trims the end of the last line; its size tells what was there.
	if missing := size - len(text); missing > 0 {
		text += string(bytes.Repeat([]byte("\n"), missing))
	}
	return text
}

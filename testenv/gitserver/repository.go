package gitserver

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Path returns the folder of a repository.
func (s *Server) Path(repo string) string {
	return filepath.Join(s.Root, filepath.FromSlash(withSuffix(repo)))
}

// Init makes a bare repository with a branch main and, on it, one commit with
// the given files (path to content). Without files it stays empty, of commits too.
func (s *Server) Init(repo string, files map[string]string) error {
	dir := s.Path(repo)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := s.run(dir, "", "init", "--quiet", "--bare", "--initial-branch=main", "--template=", "."); err != nil {
		return err
	}
	if len(files) == 0 {
		return nil
	}
	_, err := s.Commit(repo, "start", files)
	return err
}

// Commit puts a commit on main, without a clone: what a person does who is not
// us. It sets files and removes the paths in remove, and returns the new head.
// The error is that of a lost race when main moved meanwhile.
func (s *Server) Commit(repo, message string, files map[string]string, remove ...string) (string, error) {
	dir := s.Path(repo)
	var in bytes.Buffer
	data := func(text string) { fmt.Fprintf(&in, "data %d\n%s\n", len(text), text) }
	fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Somebody <somebody@example.test> %d +0000\n", time.Now().Unix())
	data(message)
	if head, err := s.Git(repo, "rev-parse", "--verify", "--quiet", "refs/heads/main"); err == nil {
		fmt.Fprintf(&in, "from %s\n", head)
	}
	for _, path := range remove {
		fmt.Fprintf(&in, "D %s\n", path)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&in, "M 100644 inline %s\n", path)
		data(files[path])
	}
	if _, err := s.run(dir, in.String(), "fast-import", "--quiet"); err != nil {
		return "", err
	}
	return s.Git(repo, "rev-parse", "refs/heads/main")
}

// Git runs git in a repository and returns what it printed, without the last
// line's end.
func (s *Server) Git(repo string, args ...string) (string, error) {
	return s.run(s.Path(repo), "", args...)
}

// Hook installs a server-side hook (pre-receive, update, post-receive, …). It
// runs for pushes, not for Commit. An empty script takes it away.
func (s *Server) Hook(repo, name, script string) error {
	file := filepath.Join(s.Path(repo), "hooks", name)
	if script == "" {
		return os.Remove(file)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if !strings.HasPrefix(script, "#!") {
		script = "#!/bin/sh\n" + script + "\n"
	}
	// By rename: a running push would find the file busy.
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, []byte(script), 0o755); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

func (s *Server) run(dir, stdin string, args ...string) (string, error) {
	cmd := s.command("git", args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(stdin)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	done, err := s.start(cmd)
	if err != nil {
		return "", err
	}
	defer done()
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

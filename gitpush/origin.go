package gitpush

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Origin tells where a clone came from.
type Origin struct {
	Root   string // the directory of the work tree
	URL    string // of the remote, without password; empty where there is none that Hoist can speak to
	Branch string // that is checked out; empty where none is
	Hidden bool   // URL had a user or a password, which is left out
}

// Origin reads the clone's configuration: the remote of the branch that is
// checked out, else the one called origin.
func (c *Clone) Origin() (Origin, error) {
	tree, err := c.repo.Worktree()
	if err != nil {
		return Origin{}, fmt.Errorf("%s: %w", c.objects.path, err)
	}
	o := Origin{Root: tree.Filesystem.Root()}
	if head, err := c.repo.Reference(plumbing.HEAD, false); err == nil && head.Type() == plumbing.SymbolicReference {
		o.Branch = head.Target().Short()
	}
	cfg, err := c.repo.Config()
	if err != nil {
		return Origin{}, fmt.Errorf("%s: %w", c.objects.path, err)
	}
	name := "origin"
	if b := cfg.Branches[o.Branch]; b != nil && b.Remote != "" && b.Remote != "." {
		name = b.Remote
	}
	if r := cfg.Remotes[name]; r != nil && len(r.URLs) > 0 {
		o.URL, o.Hidden = speakable(r.URLs[0])
	}
	return o, nil
}

// speakable returns a remote's URL as Hoist takes it, or nothing.
func speakable(remote string) (address string, hidden bool) {
	if filepath.IsAbs(remote) {
		remote = "file://" + filepath.ToSlash(remote)
	}
	if u, err := url.Parse(remote); err == nil && strings.HasPrefix(u.Scheme, "http") && u.User != nil {
		u.User = nil
		remote, hidden = u.String(), true
	}
	if _, err := parseAddress(remote); err != nil {
		return "", false
	}
	return remote, hidden
}

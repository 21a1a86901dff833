// Package gitpush keeps a bare mirror of a Git branch and puts commits on the
// remote: between plan's Changes and the Commit that everyone can see.
//
//	remote --Fetch--> mirror --Tree--> io/fs.FS
//	Changes --Push--> blobs, trees, commits --one pack, old=base new=last--> remote --read back--> Commit
//
// What it promises: a commit is reported only after the remote's branch was
// read back and holds it; nobody's commit is overwritten, because every push
// names the commit it builds on and the server compares; a commit that was not
// pushed leaves no trace, neither on the remote nor in the mirror, because its
// objects live in memory until the remote has them. The mirror on disk is a
// cache: delete it and nothing is lost.
//
// The trap that bites first: the words with which servers refuse a push are
// worth nothing, an empty reply may mean success, and a lost reply may too. So
// no outcome is ever decided by a reply; the branch is read again.
//
// The wire protocol is spoken here with go-git's messages, since go-git's own
// Push walks the whole history and its SSH handshake knows no deadline.
package gitpush

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"go.uber.org/zap"

	"hoist/bump"
)

// Errors that callers branch on.
var (
	// ErrMoved says that the remote branch is no longer at the commit that the
	// push was built on: fetch, plan again, push again.
	ErrMoved = errors.New("remote has moved")
	// ErrNoBranch says that the remote has commits, but not this branch. It is
	// never created by us.
	ErrNoBranch = errors.New("branch does not exist")
	// ErrHeld says that another process has the mirror open.
	ErrHeld = errors.New("is held by another hoist")
	// ErrEmpty says that the remote repository has no commit at all.
	ErrEmpty = errors.New("repository is empty")
	// ErrUnknown says that a push may or may not have happened: neither its
	// answer nor the branch could be read. The next fetch tells.
	ErrUnknown = errors.New("outcome unknown")
)

// RejectedError says that the server read the commits and refused them: a
// protected branch, a rule, a hook. Trying again at once cannot help.
type RejectedError struct {
	Branch  string
	Message string // what the server said, several lines perhaps
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("push %s: rejected by the server: %s", e.Branch, e.Message)
}

// Mirror is a bare, full-history, single-branch copy of a repository below a
// directory of ours. It may be used from several goroutines: reads go on while
// a fetch or push is under way, and fetches and pushes take turns.
type Mirror struct {
	repo   Repository
	url    address
	path   string
	secret func(context.Context) (bump.Secret, error)
	log    *zap.Logger

	net     sync.Mutex // one conversation with the remote at a time; guards the local ref
	web     webClient
	objects *objects
	unlock  func()
}

// Open returns the mirror of r below dir, making the directory when it is not
// there; nothing is asked of the network yet. What is on disk is used when it
// is whole and was made for the same URL and branch; otherwise it is deleted
// and the next Fetch clones anew. One process at a time may have a mirror open.
// A nil secret means anonymous access.
func Open(dir string, r Repository, secret func(context.Context) (bump.Secret, error), log *zap.Logger) (*Mirror, error) {
	if faults := r.Check(); len(faults) > 0 {
		return nil, fmt.Errorf("repository %s: %s: %s", r.Name, faults[0].Field, faults[0].Message)
	}
	url, err := parseAddress(r.URL)
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = zap.NewNop()
	}
	path := filepath.Join(dir, mirrorName(r.Name))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("mirror of %s: %w", url, err)
	}
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("mirror of %s: %w", url, err)
	}
	m := &Mirror{repo: r, url: url, path: path, secret: secret, log: log, unlock: unlock}
	if m.objects, err = openMirror(path, url.String(), r.Branch, log); err != nil {
		unlock()
		return nil, fmt.Errorf("mirror of %s: %w", url, err)
	}
	return m, nil
}

// Close gives the mirror's files and lock back. Trees that were handed out can
// no longer be read.
func (m *Mirror) Close() error {
	m.net.Lock()
	defer m.net.Unlock()
	m.web.close()
	err := m.objects.close()
	m.unlock()
	return err
}

// Head returns where the branch was when it was last fetched or pushed, and
// false when that has never been.
func (m *Mirror) Head() (bump.Head, bool) {
	h, ok := m.objects.ref(m.repo.Branch)
	return m.head(h), ok
}

func (m *Mirror) head(h plumbing.Hash) bump.Head {
	return bump.Head{Repository: m.repo.Name, Branch: m.repo.Branch, Hash: h.String()}
}

func (m *Mirror) timeout() time.Duration { return m.repo.Timeout.Or(DefaultTimeout) }

package gitpush

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"go.uber.org/zap"

	"hoist/bump"
)

// packTimes is how many timeouts the transfer of a pack may take as a whole, as
// long as no single one passes without a byte.
const packTimes = 10

// Fetch asks the remote where the branch is and, only if it has moved, brings
// the mirror there. The errors are [ErrNoBranch], [ErrEmpty], or what went wrong
// on the way; the mirror then stays where it was. A branch that was rewritten is
// followed, with a line in the log; [Mirror.Contains] tells callers.
func (m *Mirror) Fetch(ctx context.Context) (bump.Head, error) {
	m.net.Lock()
	defer m.net.Unlock()
	h, err := m.fetch(ctx)
	if err != nil {
		return bump.Head{}, m.strike(ctx, fmt.Errorf("fetch %s from %s: %w", m.repo.Branch, m.url, err))
	}
	return m.head(h), nil
}

// fetch is Fetch for a caller that has net.
func (m *Mirror) fetch(ctx context.Context) (plumbing.Hash, error) {
	if err := m.objects.heal(); err != nil {
		return plumbing.ZeroHash, err
	}
	ctx, guard := newPatience(ctx, m.timeout())
	defer guard.stop()
	c, err := m.talk(ctx, uploadPack)
	if err != nil {
		return plumbing.ZeroHash, guard.explain(err)
	}
	defer c.Close()
	want, err := branchOf(c.refs(), m.repo.Branch)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	old, known := m.objects.ref(m.repo.Branch)
	if known && !m.objects.has(old) {
		m.objects.damaged(fmt.Errorf("its newest commit %s is gone", old))
		if err := m.objects.heal(); err != nil {
			return plumbing.ZeroHash, err
		}
		known = false
	}
	if known && old == want {
		return want, nil
	}
	if known && m.objects.bloated() {
		m.log.Info("mirror has grown and will be cloned anew", zap.String("path", m.path))
		if err := m.objects.reset(); err != nil {
			return plumbing.ZeroHash, err
		}
		known = false
	}
	// A commit that is here came with all it refers to.
	if !m.objects.has(want) {
		if err := m.download(c, guard, want, old, known); err != nil {
			return plumbing.ZeroHash, guard.explain(err)
		}
	}
	if known {
		m.noteRewrite(old, want)
	}
	if err := m.objects.setRef(m.repo.Branch, want); err != nil {
		return plumbing.ZeroHash, err
	}
	m.tidy()
	return want, nil
}

// tidy keeps the number of files in the mirror bounded. It is no matter of the
// fetch or push that it comes after.
func (m *Mirror) tidy() {
	if err := m.objects.tidy(); err != nil {
		m.log.Warn("mirror not tidied", zap.Error(err))
	}
}

// download stores the pack with want and what it needs beside our history.
func (m *Mirror) download(c conversation, guard *patience, want, old plumbing.Hash, known bool) error {
	var haves []plumbing.Hash
	if known {
		haves = m.objects.milestones(old)
	}
	request, err := fetchRequest(c.refs().Capabilities, want, haves)
	if err != nil {
		return err
	}
	guard.renew()
	reply, err := c.ask(request)
	if err != nil {
		return err
	}
	defer reply.Close()
	if err := m.objects.addPack(packReader(guard.watch(reply), c.refs().Capabilities)); err != nil {
		return err
	}
	if _, err := m.objects.commit(want); err != nil {
		return fmt.Errorf("the server sent a pack without the commit that was asked for: %w", err)
	}
	return nil
}

// noteRewrite writes a line in the log when old is no longer in the history.
func (m *Mirror) noteRewrite(old, now plumbing.Hash) {
	within, err := m.objects.contains(now, old)
	if err == nil && !within {
		m.log.Warn("branch was rewritten on the remote", zap.String("branch", m.repo.Branch),
			zap.String("from", old.String()), zap.String("to", now.String()))
	}
}

// Contains reports whether the history of head holds the commit old; false means
// that the branch was rewritten since old. Both have to be in the mirror.
func (m *Mirror) Contains(head, old bump.Head) (bool, error) {
	return m.objects.contains(plumbing.NewHash(head.Hash), plumbing.NewHash(old.Hash))
}

// remoteBranch asks where the branch is now.
func (m *Mirror) remoteBranch(ctx context.Context) (plumbing.Hash, error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout())
	defer cancel()
	c, err := m.talk(ctx, uploadPack)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer c.Close()
	return branchOf(c.refs(), m.repo.Branch)
}

// patience ends a context when nothing has come for one timeout, or when the
// whole took packTimes of them.
type patience struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	timeout time.Duration
	whole   context.CancelFunc
}

func newPatience(ctx context.Context, timeout time.Duration) (context.Context, *patience) {
	ctx, whole := context.WithTimeoutCause(ctx, packTimes*timeout, fmt.Errorf("not done after %v", packTimes*timeout))
	ctx, cancel := context.WithCancelCause(ctx)
	p := &patience{ctx: ctx, cancel: cancel, timeout: timeout, whole: whole}
	p.timer = time.AfterFunc(timeout, func() { cancel(fmt.Errorf("no answer for %v", timeout)) })
	return ctx, p
}

func (p *patience) renew() { p.timer.Reset(p.timeout) }

func (p *patience) stop() {
	p.timer.Stop()
	p.cancel(nil)
	p.whole()
}

// explain puts the reason for the end in the place of "context canceled".
func (p *patience) explain(err error) error {
	if cause := context.Cause(p.ctx); cause != nil {
		return cause
	}
	return err
}

// watch renews the patience with each read.
func (p *patience) watch(r io.Reader) io.Reader { return watched{r, p} }

type watched struct {
	r io.Reader
	p *patience
}

func (w watched) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	if n > 0 {
		w.p.renew()
	}
	return n, err
}

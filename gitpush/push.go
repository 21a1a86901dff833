package gitpush

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"go.uber.org/zap"

	"hoist/bump"
)

// stopGrace is how long the branch may take to be read back after a stop.
const stopGrace = 3 * time.Second

// settleWaits are the pauses before a branch that did not move is read again
// after a refusal: a push of somebody else may be holding its lock, and then the
// branch moves in a moment.
var settleWaits = []time.Duration{30 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond}

// Push makes one commit per draft, the first on base, and puts them on the
// remote branch with a single compare-and-swap. It returns them, oldest first,
// after the branch was read back; a draft that changes nothing makes no commit.
//
// The errors are [ErrMoved] (fetch, plan again, push again), *[RejectedError],
// [ErrNoBranch], [ErrUnknown] when nothing could be read back, or what went
// wrong before anything was sent. base has to be in the mirror.
func (m *Mirror) Push(ctx context.Context, base bump.Head, drafts []Draft) ([]bump.Commit, error) {
	if len(drafts) == 0 {
		return nil, errors.New("push: nothing to commit")
	}
	for i, d := range drafts {
		if err := d.check(); err != nil {
			return nil, fmt.Errorf("push %s: commit %d: %w", m.repo.Branch, i+1, err)
		}
	}
	if base.Branch != m.repo.Branch || !plumbing.IsHash(base.Hash) {
		return nil, fmt.Errorf("push: %q is not a commit of branch %s", base, m.repo.Branch)
	}
	m.net.Lock()
	defer m.net.Unlock()
	commits, err := m.push(ctx, plumbing.NewHash(base.Hash), drafts)
	var rejected *RejectedError
	if err != nil && !errors.As(err, &rejected) {
		err = fmt.Errorf("push %s to %s: %w", m.repo.Branch, m.url, err)
	}
	return commits, m.strike(ctx, err)
}

func (m *Mirror) push(ctx context.Context, base plumbing.Hash, drafts []Draft) ([]bump.Commit, error) {
	chain, err := m.objects.newChain(base)
	if err != nil {
		return nil, err
	}
	for i, d := range drafts {
		if err := chain.add(d, m.repo.Name, m.repo.Branch); err != nil {
			return nil, fmt.Errorf("commit %d: %w", i+1, err)
		}
	}
	if len(chain.commits) == 0 {
		return nil, nil
	}
	pack, err := chain.pack()
	if err != nil {
		return nil, err
	}
	reply, sent, err := m.send(ctx, base, chain.head, pack)
	if !sent {
		return nil, err
	}
	if err := m.settle(ctx, base, chain.head, pack, reply, err); err != nil {
		return nil, err
	}
	return chain.commits, nil
}

// send offers the pack. Whether the remote took it is not known afterwards,
// whatever it returns; sent is false only when nothing can have happened.
func (m *Mirror) send(ctx context.Context, old, now plumbing.Hash, pack []byte) (reply pushReply, sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.timeout())
	defer cancel()
	c, err := m.talk(ctx, receivePack)
	if err != nil {
		return reply, false, err
	}
	defer c.Close()
	at, err := branchOf(c.refs(), m.repo.Branch)
	if err != nil {
		return reply, false, err
	}
	if at != old {
		return reply, false, ErrMoved
	}
	request, banded, err := pushRequest(c.refs().Capabilities, refName(m.repo.Branch), old, now, pack)
	if err != nil {
		return reply, false, err
	}
	answer, err := c.ask(request)
	if err != nil {
		return reply, true, err
	}
	defer answer.Close()
	reply, err = readPushReply(answer, banded)
	return reply, true, err
}

// settle finds out what became of a push, by reading the branch. It returns nil
// when the branch holds our commits.
func (m *Mirror) settle(ctx context.Context, base, now plumbing.Hash, pack []byte, reply pushReply, sendErr error) error {
	// The caller's time may be up, but an unknown outcome helps nobody. Somebody
	// who wants to stop is kept for a few seconds only.
	limit := m.timeout()
	if ctx.Err() != nil {
		limit = min(limit, stopGrace)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	at, err := m.remoteBranch(ctx)
	for _, wait := range settleWaits {
		if err != nil || at != base {
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		at, err = m.remoteBranch(ctx)
	}
	switch {
	case errors.Is(err, ErrNoBranch) || errors.Is(err, ErrEmpty):
		return err
	case err != nil:
		return fmt.Errorf("%w: reading the branch back: %w", ErrUnknown, errors.Join(err, sendErr))
	case at == now:
		return m.adopt(now, pack)
	case at != base:
		return m.search(ctx, now)
	case reply.refused != "":
		return m.refusal(reply)
	case sendErr != nil:
		return fmt.Errorf("the branch did not move: %w", sendErr)
	}
	return errors.New("the server reported success, but the branch did not move")
}

// refusal turns what the server said into an error. A refusal that speaks of a
// lock is a race that was lost by a hair.
func (m *Mirror) refusal(reply pushReply) error {
	if strings.Contains(reply.refused, "lock") {
		return fmt.Errorf("%w (%s)", ErrMoved, reply.refused)
	}
	text := reply.refused
	if reply.spoken != "" {
		text += "\n" + reply.spoken
	}
	return &RejectedError{Branch: m.repo.Branch, Message: text}
}

// adopt takes our pushed commits into the mirror.
func (m *Mirror) adopt(now plumbing.Hash, pack []byte) error {
	err := m.objects.addPack(bytes.NewReader(pack))
	if err == nil {
		err = m.objects.setRef(m.repo.Branch, now)
	}
	if err != nil {
		// The remote has the commits: that is what was asked for. The next
		// fetch brings them here, or says why it cannot.
		m.log.Warn("pushed commits not stored in the mirror", zap.Error(err))
	}
	m.tidy()
	return nil
}

// search looks for our commit below a branch that has moved on: somebody may
// have built on it before it was read back.
func (m *Mirror) search(ctx context.Context, ours plumbing.Hash) error {
	at, err := m.fetch(ctx)
	if err != nil {
		return fmt.Errorf("%w: reading the branch back: %w", ErrUnknown, err)
	}
	if !m.objects.has(ours) {
		return ErrMoved
	}
	within, err := m.objects.contains(at, ours)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if !within {
		return ErrMoved
	}
	return nil
}

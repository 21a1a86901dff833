package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/reconcile"
)

func (a *applier) suspension() *reconcile.Suspension {
	return a.house.controls.suspension(appSubject(a.app.Name))
}

// asked looks at what people ask of the app: whether it is suspended, and
// whether somebody waits for an answer.
func (a *applier) asked(ctx context.Context) (again time.Duration) {
	at := a.suspension()
	a.house.status.rests(a.app.Name, at)
	control := a.house.controls.of(appSubject(a.app.Name))
	switch {
	case at != nil:
		if !a.rests {
			a.log.Info("suspended", zap.String("reason", at.String()))
		}
		if !at.Until.IsZero() {
			time.AfterFunc(at.Until.Sub(a.house.opt.Now()), func() { signal(a.controls) })
		}
		a.endWait()
	case a.rests:
		a.log.Info("resumed", zap.Bool("expired", control.Suspended != nil))
	}
	resumed := a.rests && at == nil
	a.rests = at != nil
	if r := a.house.controls.open(control); r != nil && r.ID != a.taken {
		a.taken = r.ID // our own answers come back later
		a.take(ctx, r, at)
	}
	if r := a.wanted(); resumed && r != nil {
		return a.look(ctx, *r)
	}
	return a.turn(ctx, false)
}

// take begins to answer a request: what the repository has now comes first.
func (a *applier) take(ctx context.Context, r *reconcile.Request, at *reconcile.Suspension) {
	if at != nil && !r.OnceWhileSuspended {
		a.house.answer(ctx, appSubject(a.app.Name), *r, reconcile.AnswerFailed, at.String())
		return
	}
	a.request = r
	if a.house.controls.suspension(repositorySubject(a.app.RepositoryName)) != nil {
		select {
		case a.fetched <- nil: // what was fetched before has to do
		default:
		}
		return
	}
	a.progress(ctx, "fetch "+a.app.RepositoryName.Name)
	a.branch.ask(func(_ Pass, err error) {
		select {
		case a.fetched <- err:
		case <-ctx.Done():
		}
	})
}

// requested applies for a request, after the fetch.
func (a *applier) requested(ctx context.Context, err error) (again time.Duration) {
	if a.request == nil {
		return 0 // answered by an apply in between
	}
	r := a.wanted()
	if r == nil && err == nil {
		err = fmt.Errorf("repository %s has not been read yet", a.app.RepositoryName.Name)
	}
	if err == nil && !strings.HasPrefix(r.head.Hash, a.request.Revision) {
		err = fmt.Errorf("the newest commit is %s, not %s: look at it, and confirm it if it is meant", r.head, bump.Short(a.request.Revision))
	}
	checked := *a.request
	checked.Revision = ""
	a.request = &checked
	if err != nil {
		a.finish(ctx, bump.Result{}, err)
		return 0
	}
	a.progress(ctx, "apply "+r.head.String())
	return a.look(ctx, *r)
}

// progress tells who asked how far it is.
func (a *applier) progress(ctx context.Context, message string) {
	if a.request != nil {
		a.house.answer(ctx, appSubject(a.app.Name), *a.request, reconcile.AnswerWorking, message)
	}
}

// finish tells who asked how it ended.
func (a *applier) finish(ctx context.Context, r bump.Result, err error) {
	if a.request == nil || a.request.Revision != "" { // before the fetch nobody knows which is the newest
		return
	}
	state, message := reconcile.AnswerDone, r.Head.String()+": "+tally(r)
	switch {
	case err != nil:
		state, message = reconcile.AnswerFailed, err.Error()
	case !r.Ready:
		state, message = reconcile.AnswerFailed, message+"; not ready: "+r.Reason
	}
	a.house.answer(ctx, appSubject(a.app.Name), *a.request, state, message)
	a.request = nil
}

// tally spells how many objects met each action: "1 configured, 3 unchanged".
func tally(r bump.Result) string {
	n := r.Counts()
	var all []string
	for _, action := range []bump.Action{bump.Created, bump.Configured, bump.Unchanged, bump.Deleted, bump.Skipped, bump.Failed} {
		if n[action] > 0 {
			all = append(all, fmt.Sprintf("%d %s", n[action], action))
		}
	}
	return strings.Join(all, ", ")
}

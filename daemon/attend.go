package daemon

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"hoist/reconcile"
)

// healthGrace is how long objects of a ready app may be on their way, as when a
// node goes and its pods move, before the app counts as degraded. What has
// failed for good counts at once.
const healthGrace = 30 * time.Second

// attend looks whether an app is still as well as it was said to be, and tells
// when that changes.
func (a *applier) attend(ctx context.Context) {
	if a.waiting != nil || a.last.Head != a.applied || a.applied.Hash == "" || !asksForHealth(a.app.App) || a.suspension() != nil {
		return
	}
	e := a.on
	if e == nil {
		return
	}
	failed, pending := e.Unwell(a.app.App)
	now := time.Now()
	switch {
	case len(failed)+len(pending) == 0:
		a.unwell = time.Time{}
		if !a.last.Ready && e.Quiet(a.app.Name) {
			a.turned(ctx, e, "")
		}
	case len(failed) == 0 && a.unwell.IsZero():
		a.unwell = now
		time.AfterFunc(a.grace, func() { signal(a.drifts) })
	case !a.last.Ready && isNews(failed, a.last.Reason):
		a.turned(ctx, e, strings.Join(failed, "\n"))
	case a.last.Ready && (len(failed) > 0 || now.Sub(a.unwell) >= a.grace):
		a.turned(ctx, e, "degraded: "+strings.Join(append(failed, pending...), "\n"))
	}
}

var errUnhealthy = errors.New("not healthy")

// patience is when an app that was applied is looked at again. One that is not
// healthy is looked at as soon as one that failed, and perhaps it is by now: what
// the watches saw during the wait was not attended to.
func (a *applier) patience(ctx context.Context) time.Duration {
	a.attend(ctx)
	if a.last.Ready {
		return a.next(nil)
	}
	return a.next(errUnhealthy)
}

// warn logs a trouble; one that lasts is a warning once, and then until its words change.
func (a *applier) warn(log *zap.Logger, message string, why zap.Field, words string) {
	level := zapcore.WarnLevel
	if a.told == words {
		level = zapcore.DebugLevel
	}
	a.told = words
	log.Log(level, message, why)
}

// isNews tells whether lines say something that told does not.
func isNews(lines []string, told string) bool {
	return slices.ContainsFunc(lines, func(line string) bool { return !strings.Contains(told, line) })
}

// turned tells that an app is not ready, because of reason, or that it is again.
func (a *applier) turned(ctx context.Context, e engine, reason string) {
	message := "degraded"
	if !a.last.Ready {
		message = "not ready"
	}
	a.last.Ready, a.last.Reason, a.last.Finished = reason == "", reason, a.house.opt.Now()
	a.house.status.applied(a.last, nil)
	signal(a.trials)
	if reason != "" {
		a.warn(a.log, message, zap.String("reason", reason), reason)
	} else {
		a.log.Info("recovered")
		a.told = ""
		a.mu.Lock()
		a.ready = a.last.Head
		a.mu.Unlock()
	}
	a.stand(standingOf(a.last, nil))
	if err := e.RecordHealth(ctx, a.last); err != nil && ctx.Err() == nil {
		a.log.Warn("health not recorded", zap.Error(err))
	}
}

var _ engine = (*reconcile.Engine)(nil)

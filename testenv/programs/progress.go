package programs

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// progressLine tells how far a build is: once a second in place on a terminal,
// else a line every quarter of a minute.
type progressLine struct {
	out      io.Writer // nil: be silent
	name     string
	terminal bool
	begin    time.Time

	mu         sync.Mutex
	packages   int
	downloads  int
	waits      bool
	shown      bool
	lastLogged time.Time
}

func newProgressLine(out io.Writer, name string) *progressLine {
	now := time.Now()
	return &progressLine{out: out, name: name, terminal: isTerminal(out), begin: now, lastLogged: now.Add(-time.Hour)}
}

func (l *progressLine) compiled()    { l.mu.Lock(); l.packages++; l.mu.Unlock() }
func (l *progressLine) downloading() { l.mu.Lock(); l.downloads++; l.mu.Unlock() }
func (l *progressLine) waiting()     { l.mu.Lock(); l.waits = true; l.mu.Unlock() }

// tick shows the line until stop or ctx, after a second that may be all it takes.
func (l *progressLine) tick(ctx context.Context) (stop func()) {
	if l.out == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				l.show()
			}
		}
	}()
	return func() {
		cancel()
		<-gone
		l.mu.Lock()
		l.waits = false
		l.mu.Unlock()
	}
}

func (l *progressLine) show() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.terminal && now.Sub(l.lastLogged) < 15*time.Second {
		return
	}
	l.lastLogged = now
	l.shown = true
	text := l.text(now)
	if l.terminal {
		fmt.Fprintf(l.out, "\r\033[K%s", text)
	} else {
		fmt.Fprintln(l.out, text)
	}
}

func (l *progressLine) text(now time.Time) string {
	took := now.Sub(l.begin).Round(time.Second)
	if l.waits {
		return fmt.Sprintf("building %s: %v, in another process", l.name, took)
	}
	s := fmt.Sprintf("building %s: %v, %d packages compiled", l.name, took, l.packages)
	if l.downloads > 0 {
		s += fmt.Sprintf(", %d modules downloaded", l.downloads)
	}
	if l.name == ControlPlane && took < 30*time.Second {
		s += " (the first time takes about five minutes)"
	}
	return s
}

// end leaves one lasting line behind, if anything was shown at all.
func (l *progressLine) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.shown {
		return
	}
	clear := ""
	if l.terminal {
		clear = "\r\033[K"
	}
	fmt.Fprintf(l.out, "%sbuilding %s: ended after %v\n", clear, l.name, time.Since(l.begin).Round(time.Second))
}

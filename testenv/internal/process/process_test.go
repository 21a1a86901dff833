package process

import (
	"strings"
	"testing"
	"time"
)

func TestStopAsksFirst(t *testing.T) {
	line := NewFirstLine()
	p, err := Start(Options{Path: "/bin/sh", Args: []string{"-c", `trap 'echo bye >&2; exit 3' TERM; echo "up $WHO"; echo more; while :; do sleep 0.02; done`}, Env: []string{"WHO=you"}, Stdout: line})
	if err != nil {
		t.Fatal(err)
	}
	if got := <-line.Line(); got != "up you" {
		t.Errorf("first line %q", got)
	}
	if err := p.Stop(10 * time.Second); err != nil {
		t.Error(err)
	}
	if got := p.Err().Error(); got != "exit status 3: bye" {
		t.Errorf("Err() = %q", got)
	}
	p.Kill() // of an ended process does nothing
}

func TestStopKillsTheGroupWhenPatienceEnds(t *testing.T) {
	line := NewFirstLine()
	p, err := Start(Options{Path: "/bin/sh", Args: []string{"-c", `trap '' TERM; echo up; sleep 60 & wait; wait`}, Stdout: line})
	if err != nil {
		t.Fatal(err)
	}
	<-line.Line()
	if err := p.Stop(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed: signal: killed") {
		t.Errorf("Stop = %v", err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var l tail
	for range 3 {
		_, _ = l.Write([]byte(strings.Repeat("a", tailSize-1)))
	}
	_, _ = l.Write([]byte("end"))
	if got := l.String(); len(got) != tailSize || !strings.HasSuffix(got, "aend") {
		t.Errorf("kept %d bytes, ending %q", len(got), got[len(got)-4:])
	}
}

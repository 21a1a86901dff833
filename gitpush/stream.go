package gitpush

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// stream is a conversation with a program through its standard input and
// output, over SSH or on this machine.
type stream struct {
	in    io.WriteCloser
	out   io.Reader
	adv   *packp.AdvRefs
	asked bool
	end   func() error // waits for the program, or ends it
}

// startStream reads the advertisement. On an error it ends the program and adds
// what that wrote to its standard error.
func startStream(ctx context.Context, in io.WriteCloser, out io.Reader, errs *head, end func() error) (conversation, error) {
	s := &stream{in: in, out: out, end: end}
	ar, err := readRefs(out)
	if err != nil {
		in.Close()
		end()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if said := oneLine(errs.String()); said != "" {
			return nil, fmt.Errorf("the server says: %s", clip(said, 500))
		}
		return nil, fmt.Errorf("list of refs: %w", err)
	}
	s.adv = ar
	return s, nil
}

func (s *stream) refs() *packp.AdvRefs { return s.adv }

func (s *stream) ask(request []byte) (io.ReadCloser, error) {
	s.asked = true
	// A write fails when the program has answered and gone before it read all;
	// then its answer tells more than the broken pipe.
	if _, err := s.in.Write(request); err == nil {
		s.in.Close()
	}
	return io.NopCloser(s.out), nil
}

func (s *stream) Close() error {
	if !s.asked {
		s.in.Write(pktline.FlushPkt)
		s.in.Close()
	}
	return s.end()
}

// talkLocal runs the git of this machine on a repository of this machine.
func talkLocal(ctx context.Context, a address, program string) (conversation, error) {
	cmd := exec.CommandContext(ctx, "git", strings.TrimPrefix(program, "git-"), a.path)
	errs := &head{}
	cmd.Stderr = errs
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("file URLs need git on this machine: %w", err)
	}
	end := func() error {
		io.Copy(io.Discard, out)
		cmd.Wait() // its status says nothing that its answer did not
		return nil
	}
	return startStream(ctx, in, out, errs, end)
}

// head keeps the beginning of what is written to it.
type head struct {
	mu sync.Mutex
	b  strings.Builder
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if left := 4<<10 - h.b.Len(); left > 0 {
		h.b.Write(p[:min(left, len(p))])
	}
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}

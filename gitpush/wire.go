package gitpush

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"hoist/bump"
)

// The two programs of a Git server.
const (
	uploadPack  = "git-upload-pack"  // gives
	receivePack = "git-receive-pack" // takes
)

// conversation is one exchange with a program of a Git server: it has said
// which refs there are, and waits for a single request. It ends with its
// context. (https://git-scm.com/docs/pack-protocol, version 0)
type conversation interface {
	// refs returns what the server advertised.
	refs() *packp.AdvRefs
	// ask sends the request and returns the reply, to be closed by the caller.
	ask(request []byte) (io.ReadCloser, error)
	// Close ends the conversation, politely if nothing was asked.
	Close() error
}

// talk opens a conversation with the program. The secret is read anew each time.
func (m *Mirror) talk(ctx context.Context, program string) (conversation, error) {
	var secret bump.Secret
	if m.secret != nil {
		var err error
		if secret, err = m.secret(ctx); err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
	}
	switch m.url.scheme {
	case "ssh":
		return talkSSH(ctx, m.url, secret, m.path, program, m.timeout())
	case "file":
		return talkLocal(ctx, m.url, program)
	default:
		return m.web.talk(ctx, m.url, secret, program, m.timeout())
	}
}

// readRefs decodes an advertisement. A repository without commits has none.
func readRefs(r io.Reader) (*packp.AdvRefs, error) {
	ar := packp.NewAdvRefs()
	err := ar.Decode(r)
	if err != nil && !errors.Is(err, packp.ErrEmptyAdvRefs) {
		return nil, err
	}
	return ar, nil
}

// branchOf returns where the branch is. The error tells an empty repository
// from one that lacks the branch.
func branchOf(ar *packp.AdvRefs, branch string) (plumbing.Hash, error) {
	if h, ok := ar.References[refName(branch).String()]; ok {
		return h, nil
	}
	if len(ar.References) == 0 {
		return plumbing.ZeroHash, ErrEmpty
	}
	return plumbing.ZeroHash, fmt.Errorf("%q: %w", branch, ErrNoBranch)
}

func refName(branch string) plumbing.ReferenceName { return plumbing.NewBranchReferenceName(branch) }

// fetchRequest writes what a git-upload-pack wants to hear: the commit that is
// wanted and some that are there already, all in one go, without rounds of
// negotiation; sideband where it is offered.
func fetchRequest(caps *capability.List, want plumbing.Hash, haves []plumbing.Hash) ([]byte, error) {
	req := packp.NewUploadRequest()
	// No thin-pack: a pack has to be whole to be stored as it comes. multi_ack
	// is there for Azure DevOps, which answers only to clients that name it; its
	// extra acknowledgements are skipped by packStream.
	wish := []capability.Capability{capability.MultiACK, capability.OFSDelta, capability.NoProgress}
	if caps.Supports(capability.Sideband64k) {
		wish = append(wish, capability.Sideband64k)
	} else {
		wish = append(wish, capability.Sideband)
	}
	for _, c := range wish {
		if caps.Supports(c) {
			if err := req.Capabilities.Set(c); err != nil {
				return nil, err
			}
		}
	}
	req.Wants = []plumbing.Hash{want}
	var b bytes.Buffer
	if err := req.Encode(&b); err != nil {
		return nil, err
	}
	have := packp.UploadHaves{Haves: haves}
	if err := have.Encode(&b, false); err != nil {
		return nil, err
	}
	if err := pktline.NewEncoder(&b).EncodeString("done\n"); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// packReader skips the acknowledgements before a pack and returns the bytes of
// the pack. Errors that the server sends in the middle end it.
func packReader(r io.Reader, caps *capability.List) io.Reader {
	banded := caps.Supports(capability.Sideband) || caps.Supports(capability.Sideband64k)
	return &packStream{scan: pktline.NewScanner(r), raw: r, banded: banded}
}

type packStream struct {
	scan   *pktline.Scanner
	raw    io.Reader
	banded bool
	begun  bool
	rest   []byte
	err    error
}

func (p *packStream) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		p.next()
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// next reads one packet into rest, or sets err.
func (p *packStream) next() {
	if p.begun && !p.banded {
		b := make([]byte, 32<<10)
		n, err := p.raw.Read(b)
		p.rest, p.err = b[:n], err
		return
	}
	if !p.scan.Scan() {
		if p.err = p.scan.Err(); p.err == nil {
			p.err = io.ErrUnexpectedEOF
		}
		return
	}
	line := p.scan.Bytes()
	switch {
	case !p.begun && bytes.HasPrefix(line, []byte("NAK")):
		// Without sideband the pack follows the last acknowledgement with no
		// packet around it, and a NAK is the last when nothing is in common.
		p.begun = !p.banded
	case !p.begun && bytes.HasPrefix(line, []byte("ACK ")):
		text := strings.TrimSuffix(string(line), "\n")
		p.begun = !p.banded && len(text) == len("ACK ")+40
	case len(line) == 0:
		p.err = io.EOF // the flush behind the last band
	case line[0] == 1:
		p.begun = true
		p.rest = line[1:]
	case line[0] == 2:
		p.begun = true // progress: a sign of life, no more
	case line[0] == 3:
		p.err = fmt.Errorf("the server says: %s", oneLine(line[1:]))
	default:
		p.err = fmt.Errorf("unexpected answer %q", clip(string(line), 80))
	}
}

// pushRequest writes the update of one ref from old to now, with the pack.
func pushRequest(caps *capability.List, ref plumbing.ReferenceName, old, now plumbing.Hash, pack []byte) (request []byte, banded bool, err error) {
	req := packp.NewReferenceUpdateRequestFromCapabilities(caps)
	req.Commands = []*packp.Command{{Name: ref, Old: old, New: now}}
	for _, c := range []capability.Capability{capability.Sideband64k, capability.Quiet, capability.Atomic} {
		if caps.Supports(c) {
			if err := req.Capabilities.Set(c); err != nil {
				return nil, false, err
			}
		}
	}
	var b bytes.Buffer
	if err := req.Encode(&b); err != nil {
		return nil, false, err
	}
	b.Write(pack)
	return b.Bytes(), req.Capabilities.Supports(capability.Sideband64k), nil
}

// pushReply is what a git-receive-pack answered, as far as it could be read.
type pushReply struct {
	ok      bool   // it says that the ref was updated
	refused string // or why not
	spoken  string // what hooks printed
}

// readPushReply reads the answer to a push. A broken or empty answer is an
// error; nothing must be concluded from it.
func readPushReply(r io.Reader, banded bool) (pushReply, error) {
	var reply pushReply
	var spoken bytes.Buffer
	if banded {
		r = &bandReader{scan: pktline.NewScanner(r), spoken: &spoken}
	}
	status := packp.NewReportStatus()
	err := status.Decode(io.LimitReader(r, 1<<20))
	reply.spoken = strings.TrimSpace(clean(spoken.String()))
	if err != nil {
		return reply, fmt.Errorf("answer to the push: %w", err)
	}
	if status.UnpackStatus != "ok" {
		reply.refused = "unpack: " + clip(status.UnpackStatus, 500)
		return reply, nil
	}
	for _, c := range status.CommandStatuses {
		if c.Status != "ok" {
			reply.refused = clip(c.Status, 500)
			return reply, nil
		}
	}
	reply.ok = len(status.CommandStatuses) > 0
	return reply, nil
}

// bandReader returns band 1 and keeps the first of what comes on the others.
type bandReader struct {
	scan   *pktline.Scanner
	spoken *bytes.Buffer
	rest   []byte
}

func (r *bandReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		if !r.scan.Scan() {
			if err := r.scan.Err(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		line := r.scan.Bytes()
		switch {
		case len(line) == 0:
			return 0, io.EOF
		case line[0] == 1:
			r.rest = line[1:]
		case r.spoken.Len() < 4<<10:
			r.spoken.Write(line[1:])
		}
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

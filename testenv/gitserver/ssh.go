package gitserver

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	sshHandshake = 10 * time.Second
	sshSession   = 10 * time.Minute
)

// sshServer lets one key in, and runs git's two programs for it. There is no
// shell, no terminal and no forwarding.
type sshServer struct {
	git       *Server
	listener  net.Listener
	client    ssh.PublicKey
	clientKey []byte

	mu    sync.Mutex
	host  ssh.Signer
	conns map[net.Conn]bool // nil once closed
}

func startSSH(git *Server, address string) (*sshServer, error) {
	s := &sshServer{git: git, conns: map[net.Conn]bool{}}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if s.client, err = ssh.NewPublicKey(public); err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "hoist test client")
	if err != nil {
		return nil, err
	}
	s.clientKey = pem.EncodeToMemory(block)
	if err := s.newHostKey(); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", addr(address)); err != nil {
		return nil, err
	}
	git.active.Go(s.accept)
	return s, nil
}

func (s *sshServer) addr() net.Addr { return s.listener.Addr() }

func (s *sshServer) newHostKey() error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.host = signer
	return nil
}

func (s *sshServer) knownHosts() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	host, port, _ := net.SplitHostPort(s.addr().String())
	return fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(s.host.PublicKey()))
}

func (s *sshServer) close() error {
	err := s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
	return err
}

func (s *sshServer) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		if s.add(c) {
			s.git.active.Go(func() { // safe beside Wait: accept itself is active
				defer s.remove(c)
				s.serve(c)
			})
		}
	}
}

func (s *sshServer) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		_ = c.Close()
		return false
	}
	s.conns[c] = true
	return true
}

func (s *sshServer) remove(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *sshServer) config() *ssh.ServerConfig {
	c := &ssh.ServerConfig{PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if meta.User() != "git" || string(key.Marshal()) != string(s.client.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.AddHostKey(s.host)
	return c
}

func (s *sshServer) serve(c net.Conn) {
	if c.SetDeadline(time.Now().Add(sshHandshake)) != nil {
		return
	}
	conn, channels, requests, err := ssh.NewServerConn(c, s.config())
	if err != nil || c.SetDeadline(time.Now().Add(sshSession)) != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for ch := range channels {
		if ch.ChannelType() != "session" {
			_ = ch.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		channel, requests, err := ch.Accept()
		if err != nil {
			return
		}
		sessions.Go(func() { s.session(channel, requests) })
	}
}

// session runs the one command that a session may ask for.
func (s *sshServer) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	protocol := ""
	for r := range requests {
		switch r.Type {
		case "env":
			var env struct{ Name, Value string }
			ok := ssh.Unmarshal(r.Payload, &env) == nil && env.Name == "GIT_PROTOCOL"
			if ok {
				protocol = env.Value
			}
			_ = r.Reply(ok, nil)
		case "exec":
			var command struct{ Line string }
			if ssh.Unmarshal(r.Payload, &command) != nil {
				_ = r.Reply(false, nil)
				return
			}
			_ = r.Reply(true, nil)
			go ssh.DiscardRequests(requests)
			status := struct{ Status uint32 }{s.exec(channel, command.Line, protocol)}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
			return
		default:
			_ = r.Reply(false, nil)
		}
	}
}

func (s *sshServer) exec(channel ssh.Channel, line, protocol string) uint32 {
	program, dir, err := s.parse(line)
	if err != nil {
		fmt.Fprintf(channel.Stderr(), "%v\n", err)
		return 128
	}
	cmd := s.git.command("git", strings.TrimPrefix(program, "git-"), dir)
	cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+protocol)
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 128
	}
	done, err := s.git.start(cmd)
	if err != nil {
		fmt.Fprintf(channel.Stderr(), "%v\n", err)
		return 128
	}
	defer done()
	go func() {
		_, _ = io.Copy(stdin, channel) // ends with the channel
		_ = stdin.Close()
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return uint32(exit.ExitCode())
	}
	return 128
}

// parse reads a command line as git clients write it: git-upload-pack 'PATH'.
func (s *sshServer) parse(line string) (program, dir string, err error) {
	program, quoted, _ := strings.Cut(line, " ")
	if program != "git-upload-pack" && program != "git-receive-pack" {
		return "", "", errors.New("only git-upload-pack and git-receive-pack run here")
	}
	repo, err := unquote(quoted)
	if err != nil {
		return "", "", err
	}
	dir = filepath.Join(s.git.Root, filepath.FromSlash(path.Clean("/"+repo)))
	// A link could lead out of the root.
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", "", fmt.Errorf("repository %q not found", repo)
	}
	root, err := filepath.EvalSymlinks(s.git.Root)
	if err != nil {
		return "", "", err
	}
	if !strings.HasPrefix(real, root+string(os.PathSeparator)) {
		return "", "", fmt.Errorf("repository %q not found", repo)
	}
	return program, real, nil
}

// unquote undoes git's quoting for a shell: 'a'\”b', 'a'\!'b'.
func unquote(s string) (string, error) {
	rest, ok := strings.CutPrefix(s, "'")
	if !ok || !strings.HasSuffix(rest, "'") {
		return "", fmt.Errorf("want one quoted path, not %q", s)
	}
	rest = strings.NewReplacer(`'\''`, "\x00", `'\!'`, "!").Replace(strings.TrimSuffix(rest, "'"))
	if strings.Contains(rest, "'") {
		return "", fmt.Errorf("want one quoted path, not %q", s)
	}
	return strings.ReplaceAll(rest, "\x00", "'"), nil
}

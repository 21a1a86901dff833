package gitserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxBody bounds a push.
const maxBody = 2 << 30

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, tried := r.BasicAuth()
	known := tried && s.knows(user, password)
	push := strings.HasSuffix(r.URL.Path, "/git-receive-pack") || r.URL.Query().Get("service") == "git-receive-pack"
	if !known && (tried || push || !s.options.AnonymousRead) {
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	body, err := spool(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "read request: "+err.Error(), http.StatusBadRequest)
		return
	}
	defer body.remove()
	if err := s.runBackend(w, r, body, user); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// runBackend plays the CGI protocol (RFC 3875) with git-http-backend. net/http/cgi
// does too, but refuses the chunked bodies that git sends from 1 MiB on, and
// keeps no hold on its processes. The error is nil once the answer has begun.
func (s *Server) runBackend(w http.ResponseWriter, r *http.Request, body *spooled, user string) error {
	cmd := s.command(s.backend)
	cmd.Env = append(cmd.Env,
		"GIT_PROJECT_ROOT="+s.Root, "GIT_HTTP_EXPORT_ALL=1",
		"GATEWAY_INTERFACE=CGI/1.1", "SERVER_PROTOCOL=HTTP/1.1",
		"REQUEST_METHOD="+r.Method, "PATH_INFO="+r.URL.Path, "QUERY_STRING="+r.URL.RawQuery,
		"CONTENT_TYPE="+r.Header.Get("Content-Type"), "CONTENT_LENGTH="+strconv.FormatInt(body.size, 10),
		"HTTP_CONTENT_ENCODING="+r.Header.Get("Content-Encoding"),
		"GIT_PROTOCOL="+r.Header.Get("Git-Protocol"),
		"REMOTE_ADDR=127.0.0.1", "REMOTE_USER="+user)
	cmd.Stdin = body.file
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	done, err := s.start(cmd)
	if err != nil {
		return err
	}
	defer done()
	answer := bufio.NewReader(out)
	header, err := textproto.NewReader(answer).ReadMIMEHeader()
	if err != nil {
		_, _ = io.Copy(io.Discard, out)
		return fmt.Errorf("git http-backend: %w: %s", errors.Join(err, cmd.Wait()), strings.TrimSpace(said.String()))
	}
	status := http.StatusOK
	if line := header.Get("Status"); line != "" {
		if status, err = strconv.Atoi(strings.Fields(line)[0]); err != nil {
			status = http.StatusBadGateway
		}
		header.Del("Status")
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	// A client that is gone does not end a push; the rest of the answer goes nowhere.
	_, clientErr := io.Copy(flushing{w}, answer)
	_, _ = io.Copy(io.Discard, answer)
	if err := cmd.Wait(); err != nil && clientErr == nil {
		panic(http.ErrAbortHandler) // the answer is cut short; let the client see that
	}
	return nil
}

// command prepares a git program in an environment of its own. It ends at the
// latest with Close.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.life, name, args...)
	cmd.Env = append([]string(nil), s.env...)
	cmd.Dir = s.Root
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // hooks have children
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// start starts a command that Close has to wait for.
func (s *Server) start(cmd *exec.Cmd) (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return nil, errors.New("server closed")
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.active.Add(1)
	return s.active.Done, nil
}

// spooled is a request body in a temporary file: CGI wants to know its length
// first, and a push may be large.
type spooled struct {
	file *os.File
	size int64
}

func spool(body io.Reader) (*spooled, error) {
	f, err := os.CreateTemp("", "hoist-git-body-")
	if err != nil {
		return nil, err
	}
	b := &spooled{file: f}
	if b.size, err = io.Copy(f, body); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		b.remove()
		return nil, err
	}
	return b, nil
}

func (b *spooled) remove() {
	_ = b.file.Close()
	_ = os.Remove(b.file.Name())
}

// flushing passes progress on as it comes.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}

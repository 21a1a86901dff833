package gitpush

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"hoist/bump"
)

// talkSSH runs the program on the host. Everything, the handshake included,
// ends with ctx or after timeout without a connection. The host has to be known.
func talkSSH(ctx context.Context, a address, secret bump.Secret, scratch, program string, timeout time.Duration) (conversation, error) {
	conf, err := sshConfig(a, secret, scratch)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: min(timeout, 10*time.Second)}).DialContext(ctx, "tcp", a.dial())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	fail := func(err error) (conversation, error) {
		stop()
		conn.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	c, chans, reqs, err := ssh.NewClientConn(conn, a.dial(), conf)
	if err != nil {
		return fail(plainSSHError(err))
	}
	client := ssh.NewClient(c, chans, reqs)
	session, err := client.NewSession()
	if err != nil {
		client.Close()
		return fail(err)
	}
	errs := &head{}
	session.Stderr = errs
	in, err := session.StdinPipe()
	if err != nil {
		return fail(err)
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	if err := session.Start(program + " " + shellQuote(sshPath(a.path))); err != nil {
		return fail(err)
	}
	end := func() error {
		defer stop()
		session.Wait() // its status says nothing that its answer did not
		session.Close()
		return client.Close()
	}
	return startStream(ctx, in, out, errs, end)
}

// sshPath gives /~user/repo the meaning that git gives it.
func sshPath(p string) string {
	if strings.HasPrefix(p, "/~") {
		return p[1:]
	}
	return p
}

func shellQuote(s string) string {
	return "'" + strings.NewReplacer(`'`, `'\''`, `!`, `'\!'`).Replace(s) + "'"
}

func sshConfig(a address, secret bump.Secret, scratch string) (*ssh.ClientConfig, error) {
	if len(secret["identity"]) == 0 {
		return nil, errors.New("credentials: an ssh URL needs a secret with the keys identity and known_hosts; identity is missing")
	}
	if len(secret["known_hosts"]) == 0 {
		return nil, errors.New("credentials: an ssh URL needs a secret with the keys identity and known_hosts; known_hosts is missing")
	}
	signer, err := sshKey(secret)
	if err != nil {
		return nil, err
	}
	db, err := knownHosts(secret["known_hosts"], scratch)
	if err != nil {
		return nil, err
	}
	user := a.user
	if user == "" {
		user = "git"
	}
	return &ssh.ClientConfig{
		User:              user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   explainHostKey(db.HostKeyCallback()),
		HostKeyAlgorithms: db.HostKeyAlgorithms(a.dial()),
		ClientVersion:     "SSH-2.0-hoist",
	}, nil
}

func sshKey(secret bump.Secret) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(secret["identity"])
	var locked *ssh.PassphraseMissingError
	switch {
	case err == nil:
		return signer, nil
	case !errors.As(err, &locked):
		return nil, errors.New("credentials: identity is not a private key in PEM or OpenSSH form")
	case len(secret["password"]) == 0:
		return nil, errors.New("credentials: identity is encrypted and the secret has no password")
	}
	signer, err = ssh.ParsePrivateKeyWithPassphrase(secret["identity"], secret["password"])
	if err != nil {
		return nil, errors.New("credentials: password does not open identity")
	}
	return signer, nil
}

// knownHosts reads known_hosts. The library reads files only, so there is one
// for a moment; what it holds is public.
func knownHosts(b []byte, scratch string) (*knownhosts.HostKeyDB, error) {
	f, err := os.CreateTemp(scratch, "known_hosts-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	db, err := knownhosts.NewDB(f.Name())
	if err != nil {
		return nil, fmt.Errorf("credentials: known_hosts: %s", strings.ReplaceAll(err.Error(), f.Name(), "known_hosts"))
	}
	return db, nil
}

// explainHostKey says which key the host showed when it is not the known one.
func explainHostKey(check ssh.HostKeyCallback) ssh.HostKeyCallback {
	return func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := check(host, remote, key)
		if err == nil {
			return nil
		}
		shown := key.Type() + " " + ssh.FingerprintSHA256(key)
		var ke *xknownhosts.KeyError
		var re *xknownhosts.RevokedError
		switch {
		case errors.As(err, &re):
			return &hostKeyError{fmt.Sprintf("host key of %s is revoked in known_hosts: it showed %s", host, shown)}
		case errors.As(err, &ke) && len(ke.Want) > 0:
			var want []string
			for _, k := range ke.Want {
				want = append(want, fmt.Sprintf("%s %s (line %d)", k.Key.Type(), ssh.FingerprintSHA256(k.Key), k.Line))
			}
			return &hostKeyError{fmt.Sprintf("host key of %s has changed, or somebody is in between: it showed %s, known_hosts has %s",
				host, shown, strings.Join(want, ", "))}
		case errors.As(err, &ke):
			return &hostKeyError{fmt.Sprintf("host key of %s is not in known_hosts: it showed %s", host, shown)}
		}
		return err
	}
}

type hostKeyError struct{ text string }

func (e *hostKeyError) Error() string { return e.text }

// plainSSHError takes the words around a refused host key away.
func plainSSHError(err error) error {
	var h *hostKeyError
	if errors.As(err, &h) {
		return h
	}
	return err
}

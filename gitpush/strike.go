package gitpush

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	"hoist/bump"
)

// struckError is an error whose text repeated a credential, without it.
type struckError struct {
	text string
	err  error
}

func (e *struckError) Error() string { return e.text }
func (e *struckError) Unwrap() error { return e.err }

// strike takes our credentials out of what an error says: a server, or a hook
// on it, may have repeated them.
func (m *Mirror) strike(ctx context.Context, err error) error {
	if err == nil || m.secret == nil {
		return err
	}
	secret, readErr := m.secret(context.WithoutCancel(ctx))
	if readErr != nil {
		return err
	}
	text := err.Error()
	struck := strikeOut(text, secret)
	if struck == text {
		return err
	}
	var rejected *RejectedError
	if errors.As(err, &rejected) {
		return &RejectedError{Branch: rejected.Branch, Message: strikeOut(rejected.Message, secret)}
	}
	return &struckError{struck, err}
}

// strikeOut removes every spelling in which a credential travels.
func strikeOut(s string, secret bump.Secret) string {
	value := func(key string) string { return strings.TrimRight(string(secret[key]), "\r\n") }
	user := value("username")
	for _, key := range []string{"password", "bearerToken"} {
		v := value(key)
		if v == "" {
			continue
		}
		for _, spelling := range []string{
			base64.StdEncoding.EncodeToString([]byte(user + ":" + v)), base64.StdEncoding.EncodeToString([]byte(v)), url.QueryEscape(v), v,
		} {
			s = strings.ReplaceAll(s, spelling, "***")
		}
	}
	return s
}

package gitpush

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"hoist/bump"
)

func TestCredentialsAreStruckFromWhatServersSay(t *testing.T) { // N5
	m := &Mirror{secret: func(context.Context) (bump.Secret, error) {
		return bump.Secret{"username": []byte("bot"), "password": []byte("p/ss word\n")}, nil
	}}
	for _, said := range []string{"p/ss word", "Ym90OnAvc3Mgd29yZA==", "cC9zcyB3b3Jk", "p%2Fss+word"} {
		err := m.strike(t.Context(), fmt.Errorf("hook: got %s: %w", said, ErrMoved))
		if strings.Contains(err.Error(), said) || !errors.Is(err, ErrMoved) {
			t.Errorf("strike kept %q, or lost the cause: %v", said, err)
		}
		var rejected *RejectedError
		err = m.strike(t.Context(), &RejectedError{Branch: "main", Message: "you are " + said})
		if !errors.As(err, &rejected) || rejected.Message != "you are ***" {
			t.Errorf("strike(rejection with %q) = %v", said, err)
		}
	}
	plain := errors.New("remote has moved")
	if err := m.strike(t.Context(), plain); err != plain {
		t.Errorf("strike changed %v into %v", plain, err)
	}
}

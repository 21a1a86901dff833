package scale

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"strings"
	"testing"
)

// freeAddr is an address on which nobody listens.
func freeAddr(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// hint tells the daemon of the push, as a Git host does.
func (w *world) hint() {
	const body = `{"repository": "fleet"}`
	sum := hmac.New(sha256.New, []byte("t"))
	sum.Write([]byte(body))
	r, err := http.NewRequestWithContext(w.b.Context(), http.MethodPost, "http://"+w.hook+"/hook/push", strings.NewReader(body))
	if err != nil {
		w.b.Fatal(err)
	}
	r.Header.Set("X-Signature", "sha256="+hex.EncodeToString(sum.Sum(nil)))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.b.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		w.b.Fatalf("the webhook answers %s", resp.Status)
	}
}

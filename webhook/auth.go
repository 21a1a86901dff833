package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"net/http"
	"strings"

	"hoist/bump"
)

// usable tells whether a secret has what this type of receiver needs. An empty
// key would let everyone in who knows that it is empty.
func usable(kind string, s bump.Secret) bool {
	if !blank(s["token"]) {
		return true
	}
	return kind == Distribution && !blank(s["username"]) && !blank(s["password"])
}

func blank(b []byte) bool { return strings.TrimSpace(string(b)) == "" }

// authentic tells whether the caller knows the secret. Every comparison takes
// the same time whatever the caller sent.
func authentic(kind string, s bump.Secret, h http.Header, body []byte) bool {
	switch kind {
	case GenericHMAC:
		return !blank(s["token"]) && signed(s["token"], h.Values("X-Signature"), body)
	case Distribution:
		return authorized(s, h.Values("Authorization"))
	}
	return false
}

// signed checks a header such as "sha256=HEX" against the body. SHA-1, which
// Flux still takes, is refused.
func signed(key []byte, headers []string, body []byte) bool {
	if len(headers) != 1 {
		return false
	}
	algorithm, digits, ok := strings.Cut(headers[0], "=")
	if !ok {
		return false
	}
	var newHash func() hash.Hash
	switch algorithm {
	case "sha256":
		newHash = sha256.New
	case "sha512":
		newHash = sha512.New
	default:
		return false
	}
	sum, err := hex.DecodeString(digits)
	if err != nil {
		return false
	}
	mac := hmac.New(newHash, key)
	mac.Write(body)
	return hmac.Equal(mac.Sum(nil), sum)
}

// authorized checks a bearer token or a user name and password.
func authorized(s bump.Secret, headers []string) bool {
	if len(headers) != 1 {
		return false
	}
	scheme, credentials, ok := strings.Cut(headers[0], " ")
	if !ok {
		return false
	}
	switch strings.ToLower(scheme) {
	case "bearer":
		return !blank(s["token"]) && equal([]byte(credentials), s["token"])
	case "basic":
		r := http.Request{Header: http.Header{"Authorization": headers}}
		username, password, ok := r.BasicAuth()
		if !ok || blank(s["username"]) || blank(s["password"]) {
			return false
		}
		sameName := equal([]byte(username), s["username"])
		samePassword := equal([]byte(password), s["password"])
		return sameName && samePassword
	}
	return false
}

// equal compares in a time that tells neither content nor length.
func equal(a, b []byte) bool {
	x, y := sha256.Sum256(a), sha256.Sum256(b)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

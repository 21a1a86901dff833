package sops

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// vaultService is the transit engine of Vault and OpenBao.
type vaultService struct {
	token     string
	addresses []string
}

var (
	vaultEngine = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$`)
	vaultName   = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*$`)
)

func (s *vaultService) open(ctx context.Context, client *http.Client, k vaultKey) ([]byte, error) {
	same := func(a string) bool { return strings.TrimRight(a, "/") == strings.TrimRight(k.Address, "/") }
	at := slices.IndexFunc(s.addresses, same)
	switch {
	case at < 0:
		return nil, fmt.Errorf("%q is not asked: neither decryption.vaultAddresses nor %s in the secret has it", k.Address, keyVaultAddress)
	case !vaultEngine.MatchString(k.Engine) || !vaultName.MatchString(k.Key):
		return nil, fmt.Errorf("%q is no key of a transit engine", k.Engine+"/"+k.Key)
	}
	req, _, err := request(ctx, strings.TrimRight(s.addresses[at], "/")+"/v1/"+k.Engine+"/decrypt/"+k.Key, map[string]string{"ciphertext": k.Enc})
	if err != nil {
		return nil, errors.New("the address is no URL")
	}
	req.Header.Set("X-Vault-Token", s.token)
	req.Header.Set("X-Vault-Request", "true")
	var answer struct {
		Data struct {
			Plaintext []byte `json:"plaintext"`
		} `json:"data"`
	}
	err = post(client, req, &answer, none)
	return answer.Data.Plaintext, err
}

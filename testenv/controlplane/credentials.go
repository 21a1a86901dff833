package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// credentials are the files that the parts and their clients trust each other
// by. They are made once per state folder, so that a kubeconfig stays good over
// a restart.
type credentials struct {
	token      string // of the user admin, a member of system:masters
	tokensFile string
	caFile     string // the serving certificate and the one that signed it
	keyFile    string
	accountKey string // signs the tokens of ServiceAccounts
	kubeconfig string // written by writeKubeconfig, once the port is known
}

func loadCredentials(dir, moreTokens string) (credentials, error) {
	c := credentials{
		tokensFile: filepath.Join(dir, "tokens.csv"),
		caFile:     filepath.Join(dir, "apiserver.crt"),
		keyFile:    filepath.Join(dir, "apiserver.key"),
		accountKey: filepath.Join(dir, "serviceaccount.key"),
		kubeconfig: filepath.Join(dir, "kubeconfig"),
	}
	for file, write := range map[string]func() error{c.caFile: c.makeServingCert, c.accountKey: c.makeAccountKey} {
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			err = write()
			if err != nil {
				return c, fmt.Errorf("make %s: %w", filepath.Base(file), err)
			}
		} else if err != nil {
			return c, err
		}
	}
	tokenFile := filepath.Join(dir, "admin.token")
	token, err := os.ReadFile(tokenFile)
	if errors.Is(err, os.ErrNotExist) {
		token = []byte(rand.Text())
		err = os.WriteFile(tokenFile, token, 0o600)
	}
	if err != nil {
		return c, err
	}
	c.token = string(token)
	lines := c.token + ",admin,admin,system:masters\n"
	if moreTokens != "" {
		lines += strings.ReplaceAll(moreTokens, ";", "\n") + "\n"
	}
	return c, os.WriteFile(c.tokensFile, []byte(lines), 0o600)
}

// makeServingCert writes the key first: a certificate without its key would
// look complete to the next start.
func (c credentials) makeServingCert() error {
	cert, key, err := certutil.GenerateSelfSignedCertKey("localhost", []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		[]string{"kubernetes", "kubernetes.default", "kubernetes.default.svc"})
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.keyFile, key, 0o600); err != nil {
		return err
	}
	return os.WriteFile(c.caFile, cert, 0o644)
}

func (c credentials) makeAccountKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	pem, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	return os.WriteFile(c.accountKey, pem, 0o600)
}

func (c credentials) writeKubeconfig(server string) error {
	ca, err := os.ReadFile(c.caFile)
	if err != nil {
		return err
	}
	k := clientcmdapi.NewConfig()
	k.Clusters["testenv"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	k.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: c.token}
	k.Contexts["testenv"] = &clientcmdapi.Context{Cluster: "testenv", AuthInfo: "admin"}
	k.CurrentContext = "testenv"
	return clientcmd.WriteToFile(*k, c.kubeconfig)
}

package sops

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
	"go.yaml.in/yaml/v3"
)

// awsService is AWS KMS.
type awsService struct{ identity aws.CredentialsProvider }

// arn is the name of a key, strict because a host is made of its region.
var arn = regexp.MustCompile(`^arn:(aws|aws-cn|aws-us-gov):kms:([a-z]{2}(?:-[a-z]+)+-[0-9]+):[0-9]{12}:(?:key|alias)/[A-Za-z0-9/_-]+$`)

// newAWS reads credentials; without any it is the identity of the program.
func newAWS(b []byte) (*awsService, error) {
	if b == nil {
		return &awsService{aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			cfg, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}), config.WithDefaultRegion("us-east-1"))
			if err != nil {
				return aws.Credentials{}, err
			}
			return cfg.Credentials.Retrieve(ctx)
		}))}, nil
	}
	var c struct {
		ID     string `yaml:"aws_access_key_id"`
		Secret string `yaml:"aws_secret_access_key"`
		Token  string `yaml:"aws_session_token"`
	}
	if yaml.Unmarshal(b, &c) != nil || c.ID == "" || c.Secret == "" {
		return nil, errors.New("has no aws_access_key_id and aws_secret_access_key, as YAML")
	}
	fixed := aws.Credentials{AccessKeyID: c.ID, SecretAccessKey: c.Secret, SessionToken: c.Token}
	return &awsService{aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return fixed, nil })}, nil
}

func (s *awsService) open(ctx context.Context, client *http.Client, k awsKey) ([]byte, error) {
	m := arn.FindStringSubmatch(k.ARN)
	switch {
	case m == nil:
		return nil, fmt.Errorf("%q is no ARN of a key", k.ARN)
	case k.Role != "":
		return nil, errors.New("the file names a role, and roles of files are not assumed: let the identity use the key itself")
	}
	host := "kms." + m[2] + ".amazonaws.com"
	if m[1] == "aws-cn" {
		host += ".cn"
	}
	req, body, err := request(ctx, "https://"+host+"/", struct {
		KeyId, CiphertextBlob string
		EncryptionContext     map[string]string `json:",omitempty"`
	}{k.ARN, k.Enc, k.Context})
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "TrentService.Decrypt")
	who, err := s.identity.Retrieve(ctx)
	if err != nil {
		return nil, errors.New("there is no identity: neither in the secret, nor in the environment and the files of AWS, nor of the pod or the machine")
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, who, req, hex.EncodeToString(sum[:]), "kms", m[2], time.Now()); err != nil {
		return nil, err
	}
	var answer struct{ Plaintext []byte }
	err = post(client, req, &answer, func(b []byte) string {
		var why struct {
			Type string `json:"__type"`
		}
		_ = json.Unmarshal(b, &why) // no reason is no reason
		return word(why.Type[strings.LastIndexByte(why.Type, '#')+1:])
	})
	return answer.Plaintext, err
}

package scanner

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/google/go-containerregistry/pkg/authn"
)

// publicECR is Amazon's public registry. Its API is in one region only.
const (
	publicECR       = "public.ecr.aws"
	publicECRRegion = "us-east-1"
)

// ecrHost is a private registry: account, FIPS or not, region, China or not.
var ecrHost = regexp.MustCompile(`^[0-9]{12}\.dkr\.ecr(-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$`)

func ownedByAWS(host string) bool { return host == publicECR || ecrHost.MatchString(host) }

// lendAWS calls GetAuthorizationToken in the region of the registry. Who we
// are, the SDK finds: environment, shared files, web identity, container,
// machine. The token is for every account that lets us in, so the call does not
// name the registry's.
func lendAWS(ctx context.Context, a asking) (loan, error) {
	region, fips := publicECRRegion, aws.FIPSEndpointStateUnset
	host := ecrHost.FindStringSubmatch(a.registry)
	if host != nil {
		region = host[2]
		if host[1] != "" {
			fips = aws.FIPSEndpointStateEnabled
		}
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithDefaultRegion(region), config.WithLogger(logging.Nop{}), config.WithHTTPClient(a.awsClient()))
	if err != nil {
		return loan{}, err
	}
	cfg.Region = region // the identity may have been found in another one
	if host == nil {
		out, err := ecrpublic.NewFromConfig(cfg).GetAuthorizationToken(ctx, &ecrpublic.GetAuthorizationTokenInput{})
		if err != nil {
			return loan{}, sayAWS(err)
		}
		if out.AuthorizationData == nil {
			return loan{}, errNoToken
		}
		return ecrLoan(out.AuthorizationData.AuthorizationToken, out.AuthorizationData.ExpiresAt, a.now())
	}
	client := ecr.NewFromConfig(cfg, func(o *ecr.Options) { o.EndpointOptions.UseFIPSEndpoint = fips })
	out, err := client.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return loan{}, sayAWS(err)
	}
	if len(out.AuthorizationData) == 0 {
		return loan{}, errNoToken
	}
	return ecrLoan(out.AuthorizationData[0].AuthorizationToken, out.AuthorizationData[0].ExpiresAt, a.now())
}

// sayAWS finds in the SDK's error the operation that failed: often not the one
// that was called, but one that finds out who we are.
func sayAWS(err error) error {
	doing := ""
	var op *smithy.OperationError
	for errors.As(err, &op) {
		doing, err = op.Service()+" "+op.Operation(), op.Err
	}
	var refused smithy.APIError
	switch {
	case strings.HasPrefix(doing, "ec2imds "):
		return errors.New("there is no identity: neither in the environment and the files of AWS, nor of the pod or the machine")
	case errors.As(err, &refused):
		return fmt.Errorf("%s (%s, %s)", doing, refused.ErrorCode(), refused.ErrorMessage())
	}
	return fmt.Errorf("%s (%w)", doing, rootError(err))
}

// awsClient is services in the SDK's own clothes, to which it adds AWS_CA_BUNDLE
// and short timeouts for the metadata service.
func (a asking) awsClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.Proxy, t.OnProxyConnectResponse, t.DisableKeepAlives = a.proxy, proxyAnswered, true
		t.ResponseHeaderTimeout, t.MaxResponseHeaderBytes = headerTimeout, headerBytes
	})
}

var errNoToken = errors.New("it answered without a token")

// ecrLoan reads a token of ECR: user:password in base64.
func ecrLoan(token *string, expires *time.Time, now time.Time) (loan, error) {
	plain, err := base64.StdEncoding.DecodeString(aws.ToString(token))
	user, pass, ok := strings.Cut(string(plain), ":")
	if err != nil || !ok || pass == "" {
		return loan{}, errNoToken
	}
	return loan{
		config: authn.AuthConfig{Username: user, Password: pass},
		until:  renewal(aws.ToTime(expires), now),
	}, nil
}

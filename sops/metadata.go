package sops

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// metadata is what SOPS writes beside the values: for whom the data key is
// encrypted, and the MAC.
type metadata struct {
	group            `yaml:",inline"`
	Groups           []group `yaml:"key_groups"`
	Threshold        int     `yaml:"shamir_threshold"`
	LastModified     string  `yaml:"lastmodified"`
	MAC              string  `yaml:"mac"`
	MACOnlyEncrypted string  `yaml:"mac_only_encrypted"`
}

// group are the keys of which each holds the same data key, or the same part of one.
type group struct {
	Age    []ageKey   `yaml:"age"`
	PGP    []pgpKey   `yaml:"pgp"`
	AWS    []awsKey   `yaml:"kms"`
	GCP    []gcpKey   `yaml:"gcp_kms"`
	Azure  []azureKey `yaml:"azure_kv"`
	Vault  []vaultKey `yaml:"hc_vault"`
	Huawei []struct {
		ID string `yaml:"key_id"`
	} `yaml:"hckms"`
}

type ageKey struct {
	Recipient string `yaml:"recipient"`
	Enc       string `yaml:"enc"`
}

type pgpKey struct {
	Fingerprint string `yaml:"fp"`
	Enc         string `yaml:"enc"`
}

type awsKey struct {
	ARN     string            `yaml:"arn"`
	Role    string            `yaml:"role"`
	Context map[string]string `yaml:"context"`
	Enc     string            `yaml:"enc"`
}

type gcpKey struct {
	ResourceID string `yaml:"resource_id"`
	Enc        string `yaml:"enc"`
}

type azureKey struct {
	VaultURL string `yaml:"vault_url"`
	Name     string `yaml:"name"`
	Version  string `yaml:"version"`
	Enc      string `yaml:"enc"`
}

type vaultKey struct {
	Address string `yaml:"vault_address"`
	Engine  string `yaml:"engine_path"`
	Key     string `yaml:"key_name"`
	Enc     string `yaml:"enc"`
}

// maxKeys is for how many keys a file may be encrypted: each costs a try.
const maxKeys = 200

func (m *metadata) groups() []group {
	if m.group.count() > 0 {
		return []group{m.group}
	}
	return m.Groups
}

func (g group) count() int {
	return len(g.Age) + len(g.PGP) + len(g.AWS) + len(g.GCP) + len(g.Azure) + len(g.Vault) + len(g.Huawei)
}

// recipients names the keys of a group for people.
func (g group) recipients() (all []string) {
	for _, k := range g.Age {
		all = append(all, k.Recipient)
	}
	for _, k := range g.PGP {
		all = append(all, "pgp "+k.Fingerprint)
	}
	for _, k := range g.AWS {
		all = append(all, "aws kms "+k.ARN)
	}
	for _, k := range g.GCP {
		all = append(all, "gcp kms "+k.ResourceID)
	}
	for _, k := range g.Azure {
		all = append(all, "azure key vault "+k.VaultURL+"/keys/"+k.Name)
	}
	for _, k := range g.Vault {
		all = append(all, "vault "+k.Address+" "+k.Engine+"/"+k.Key)
	}
	for _, k := range g.Huawei {
		all = append(all, "huawei kms "+k.ID+" (not supported)")
	}
	return all
}

// metadataOf reads the block below "sops".
func metadataOf(n *yaml.Node) (*metadata, error) {
	if aliased(n) {
		return nil, errors.New("the metadata of SOPS has an alias, which sops does not write")
	}
	var m metadata
	if err := n.Decode(&m); err != nil {
		return nil, errors.New("the metadata of SOPS is malformed")
	}
	count := 0
	for _, g := range m.groups() {
		count += g.count()
	}
	switch {
	case m.MAC == "":
		return nil, errors.New("the metadata of SOPS has no MAC")
	case count == 0:
		return nil, errors.New("the metadata of SOPS names no key")
	case count > maxKeys:
		return nil, fmt.Errorf("is encrypted for %d keys, more than the %d that are tried", count, maxKeys)
	}
	return &m, nil
}

// unsealer opens the data key.
func (m *metadata) unsealer(ctx context.Context, k *Keys) (*unsealer, error) {
	key, err := k.dataKey(ctx, m)
	if err != nil {
		return nil, err
	}
	if len(key) != 32 {
		return nil, errors.New("the data key has a wrong length")
	}
	return newUnsealer(key, strings.EqualFold(m.MACOnlyEncrypted, "true")), nil
}

// verify compares the sum of all values with the MAC.
func (m *metadata) verify(u *unsealer) error {
	at, err := time.Parse(time.RFC3339, m.LastModified)
	if err != nil {
		return errors.New("the metadata of SOPS has no time")
	}
	want, _, err := u.unseal(m.MAC, at.Format(time.RFC3339))
	if err != nil {
		return ErrChanged
	}
	if got := fmt.Sprintf("%X", u.sum.Sum(nil)); subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return ErrChanged
	}
	return nil
}

// aliased tells whether there is an alias below n.
func aliased(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode {
		return true
	}
	for _, c := range n.Content {
		if aliased(c) {
			return true
		}
	}
	return false
}

// unflatten makes metadata of lines: dotenv and INI have no nesting, so that
// names have the way in them, as in age__list_0__map_recipient.
func unflatten(lines []line) (*metadata, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, l := range lines {
		n := root
		name := strings.ReplaceAll(l.key, "__list_", "\x00l")
		for i, step := range strings.Split(strings.ReplaceAll(name, "__map_", "\x00m"), "\x00") {
			if i == 0 {
				step = "m" + step
			}
			if n = below(n, step); n == nil {
				return nil, errors.New("the metadata of SOPS is malformed")
			}
		}
		n.Kind, n.Value = yaml.ScalarNode, l.value
		if strings.Contains(l.value, "\n") {
			n.Style = yaml.DoubleQuotedStyle
		}
	}
	return metadataOf(root)
}

// below returns the node one step down, made where it is not there: "mNAME" in a
// mapping, "lINDEX" in a list. Indices come in order.
func below(n *yaml.Node, step string) *yaml.Node {
	fresh := &yaml.Node{}
	if step[0] == 'm' {
		if n.Kind == 0 {
			n.Kind = yaml.MappingNode
		}
		if n.Kind != yaml.MappingNode {
			return nil
		}
		if at := field(n, step[1:]); at != nil {
			return at
		}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: step[1:], Tag: "!!str"}, fresh)
		return fresh
	}
	if n.Kind == 0 {
		n.Kind = yaml.SequenceNode
	}
	i, err := strconv.Atoi(step[1:])
	if n.Kind != yaml.SequenceNode || err != nil || i < 0 || i > maxKeys {
		return nil
	}
	for len(n.Content) <= i {
		n.Content = append(n.Content, &yaml.Node{})
	}
	return n.Content[i]
}

// field returns the value of a key of a mapping; nil where there is none.
func field(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

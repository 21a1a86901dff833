package config

import (
	"os"

	"hoist/bump"
)

// Places knows where the entries of a configuration stand in its files. It holds
// all of the files, so it is for verbs that end soon.
type Places struct{ policies map[bump.Name]origin }

// LoadPlaced is [Load] with the places of what it read.
func LoadPlaced(paths ...string) (*Config, Places, error) {
	b := builderOf(os.Stdin, paths)
	c, err := b.build()
	return c, Places{b.policies}, err
}

// Policy returns what was found about a policy after the files were read, with
// file and line. The policy is one of the configuration.
func (p Places) Policy(name bump.Name, found bump.Fault) Fault {
	return p.policies[name].fault(found.Field, found.Message, "")
}

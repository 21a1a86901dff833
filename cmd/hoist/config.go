package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"hoist/config"
	"hoist/daemon"
)

// newConfig returns the verbs about the configuration. None of them touches
// anything but the files that it reads.
func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and show the configuration",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newConfigCheck(), newConfigView(), newConfigSchema())
	return cmd
}

// configFlag adds -c, which names files, directories or "-" and may be repeated.
func configFlag(cmd *cobra.Command) *[]string {
	return cmd.Flags().StringSliceP("config", "c", []string{"hoist.yaml"}, "configuration `file`, directory of *.yaml files, or - for standard input (repeatable)")
}

func newConfigCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Report everything that is wrong with the configuration",
		Long: `Check reads the configuration, prints everything that is wrong with it, with
file and line, and exits with 1. When all is well it prints what there is, and
warns of what is allowed but probably not meant.

Nothing is contacted, unless --registry is given: then the tags of each image are
read, with its credentials, and a policy that none of them satisfies is warned of.`,
		Args: cobra.NoArgs,
	}
	s := newSettings(cmd, "error")
	registry := cmd.Flags().Bool("registry", false, "also ask the registries whether the policies fit the tags that there are")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		files := &s.config
		c, places, err := config.LoadPlaced(*files...)
		if err != nil {
			return configError(err)
		}
		for _, l := range c.Lints() {
			fmt.Fprintln(cmd.ErrOrStderr(), "hoist: warning: "+l.String())
		}
		if *registry {
			if err := s.checkTags(cmd, c, places); err != nil {
				return err
			}
		}
		name := (*files)[0]
		if len(*files) > 1 {
			name = fmt.Sprintf("%d files", len(*files))
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", name, c.Summary())
		return err
	}
	return cmd
}

// checkTags warns of policies that do not fit the tags that there are. A
// registry that cannot be read is an error, after all the others were.
func (s *settings) checkTags(cmd *cobra.Command, c *config.Config, places config.Places) error {
	o, err := s.options(cmd)
	if err != nil {
		return err
	}
	o.Reader = true
	h := daemon.Open(c, o)
	defer h.Close()
	failed := h.Scan(cmd.Context(), "check")
	for _, p := range c.Policies {
		tags, ok := h.Tags(p.Image)
		if !ok {
			continue
		}
		for _, f := range p.Policy.LintTags(tags) {
			fmt.Fprintln(cmd.ErrOrStderr(), "hoist: warning: "+places.Policy(p.Name, f).String())
		}
	}
	return failed
}

func newConfigView() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "view",
		Short: "Print the configuration in the native dialect, as it is understood",
		Args:  cobra.NoArgs,
	}
	files := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := config.Load(*files...)
		if err != nil {
			return configError(err)
		}
		text, err := c.View()
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	return cmd
}

func newConfigSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema (draft-07) of the native dialect, for editors",
		Example: `  hoist config schema > hoist.schema.json
  # first line of hoist.yaml:
  # yaml-language-server: $schema=./hoist.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			schema, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(schema)
			return err
		},
	}
}

// configError is the error of a configuration that was refused, with how many
// faults it has where there are several.
func configError(err error) error {
	e := &exitError{code: 1, err: err}
	var faults config.Faults
	if errors.As(err, &faults) && len(faults) > 1 {
		e.hints = []string{fmt.Sprintf("%d faults; `hoist config schema` prints a schema that editors check with", len(faults))}
	}
	return e
}

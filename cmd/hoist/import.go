package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hoist/config"
)

// newImport returns the verb that makes a native configuration of Flux's documents.
func newImport() *cobra.Command {
	var r importRun
	cmd := &cobra.Command{
		Use:   "import [FILE|DIR]...",
		Short: "Make a configuration of Flux documents, from files or a cluster",
		Long: `Print the configuration that does what Flux documents say: GitRepository,
ImageRepository, ImagePolicy, ImageUpdateAutomation, Kustomization and Receiver,
of all served versions, from files, the *.yaml and *.yml below directories,
standard input (-), or, with --cluster, from what a cluster holds. Names and
namespaces stay, so that markers keep working. Secrets are not looked at.

What has no counterpart is never dropped in silence: it stands as a comment in
the configuration and as a note on stderr, with its place and what to do. Where
an entry would do something else without it, the entry is suspended.

Nothing is changed, neither in the cluster nor on disk.

Exit codes: 0 imported, perhaps with notes; 1 nothing was found, or an error, or
with --strict a note.`,
		Example: `  hoist import clusters/production > hoist.yaml
  flux export source git --all | hoist import -
  hoist import --cluster --context production > hoist.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd, args) },
	}
	f := cmd.Flags()
	f.BoolVar(&r.cluster, "cluster", false, "import what a cluster holds")
	f.StringVar(&r.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster; default: what kubectl uses")
	f.StringVar(&r.context, "context", "", "context of the kubeconfig; default: its current one")
	f.StringVar(&r.namespace, "namespace", "", "only objects of this namespace; default: all")
	f.BoolVar(&r.strict, "strict", false, "exit with 1 if there is a note")
	return cmd
}

// importRun is one run of the verb.
type importRun struct {
	cluster, strict                bool
	kubeconfig, context, namespace string
}

func (r *importRun) run(cmd *cobra.Command, args []string) error {
	sources, err := r.sources(cmd, args)
	if err != nil {
		return err
	}
	imported, err := config.Import(sources)
	for _, n := range imported.Notes {
		fmt.Fprintln(cmd.ErrOrStderr(), "hoist: note: "+n.String())
	}
	if skipped := skippedKinds(imported.Skipped); skipped != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "hoist: skipped "+skipped)
	}
	if err != nil {
		return err
	}
	if _, err := cmd.OutOrStdout().Write(imported.Text); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "hoist: imported %s, %s\n", imported.Config.Summary(), count(len(imported.Notes), "note"))
	if r.strict && len(imported.Notes) > 0 {
		return &exitError{code: 1}
	}
	return nil
}

// sources reads what the command line names.
func (r *importRun) sources(cmd *cobra.Command, args []string) ([]config.Source, error) {
	switch {
	case r.cluster && len(args) > 0:
		return nil, errors.New("expected files or --cluster, not both")
	case r.cluster:
		return r.clusterSources(cmd.Context())
	case len(args) == 0 && isTerminal(cmd.InOrStdin()):
		return nil, &exitError{code: 1, err: errors.New("nothing to import from: expected files, directories, - or --cluster"),
			hints: []string{"hoist import --cluster asks the cluster that kubectl uses"}}
	case len(args) == 0:
		args = []string{"-"}
	}
	var sources []config.Source
	seen := make(map[string]bool)
	add := func(name string, open func() (io.ReadCloser, error)) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		s, err := config.ReadSource(name, open)
		sources = append(sources, s)
		return err
	}
	for _, arg := range args {
		if arg == "-" {
			if err := add(arg, func() (io.ReadCloser, error) { return io.NopCloser(cmd.InOrStdin()), nil }); err != nil {
				return nil, err
			}
			continue
		}
		files, err := yamlFilesBelow(filepath.Clean(arg))
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			if err := add(name, func() (io.ReadCloser, error) { return os.Open(name) }); err != nil {
				return nil, err
			}
		}
	}
	return sources, nil
}

// yamlFilesBelow returns a file itself, or the YAML files of a directory and all
// below it but those whose names begin with a dot. Links are not followed.
func yamlFilesBelow(name string) (files []string, err error) {
	fi, err := os.Stat(name)
	if err != nil || !fi.IsDir() {
		return []string{name}, err
	}
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(d.Name(), ".") && path != name
		switch {
		case err != nil:
			return err
		case d.IsDir() && hidden:
			return fs.SkipDir
		case d.Type().IsRegular() && !hidden && slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(path)):
			files = append(files, path)
		}
		return nil
	})
	return files, err
}

// skippedKinds counts documents that are not Flux's: "3 documents of other kinds: Deployment 2, Service 1".
func skippedKinds(kinds map[string]int) string {
	n := 0
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		n += kinds[kind]
		parts = append(parts, fmt.Sprintf("%s %d", kind, kinds[kind]))
	}
	if n == 0 {
		return ""
	}
	return count(n, "document") + " of other kinds: " + strings.Join(parts, ", ")
}

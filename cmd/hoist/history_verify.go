package main

import (
	"fmt"
	"io"
	"os"
	"path"

	"github.com/spf13/cobra"

	"hoist/bump"
	"hoist/daemon"
	"hoist/gitpush"
)

// verifyFlags say what our commits are held against.
type verifyFlags struct {
	keyring, allowedSigners string
	committers              []string
}

// signers reads the files with keys; without any there is nobody in it.
func (f verifyFlags) signers() (*gitpush.Signers, error) {
	keys := new(gitpush.Signers)
	for _, source := range []struct {
		file string
		add  func([]byte) error
	}{{f.keyring, keys.AddKeyring}, {f.allowedSigners, keys.AddAllowed}} {
		if source.file == "" {
			continue
		}
		text, err := os.ReadFile(source.file)
		if err == nil {
			err = source.add(text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source.file, err)
		}
		if keys.Empty() {
			return nil, fmt.Errorf("%s: there is no key in it", source.file)
		}
	}
	for _, p := range f.committers {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fmt.Errorf("--committer %q: %w", p, err)
		}
	}
	return keys, nil
}

// verdictOnCommit is a line of `hoist history --verify -o json`.
type verdictOnCommit struct {
	Commit    string   `json:"commit"`
	Committer string   `json:"committer"`
	Signer    string   `json:"signer,omitempty"`
	Faults    []string `json:"faults"`
}

// verifyAll checks the commits with our trailers and prints those that are not what
// they say; -o json prints all of them.
func (f *historyFlags) verifyAll(cmd *cobra.Command, clone *gitpush.Clone, head bump.Head, opts gitpush.HistoryOptions) error {
	keys, err := f.verify.signers()
	if err != nil {
		return err
	}
	if keys.Empty() {
		fmt.Fprintln(cmd.ErrOrStderr(), "hoist: warning: signatures are not checked: name keys with --keyring or --allowed-signers")
	}
	list := []verdictOnCommit{}
	bad := 0
	for w, err := range clone.Written(cmd.Context(), head, opts, keys) {
		if err != nil {
			return err
		}
		faults, err := daemon.Faults(cmd.Context(), clone, w, f.verify.committers)
		if err != nil {
			return err
		}
		if len(faults) > 0 {
			bad++
		}
		list = append(list, verdictOnCommit{w.Commit, author(w.Committer), w.Signer, append([]string{}, faults...)})
	}
	if err := printVerified(cmd.OutOrStdout(), f.output, list, bad); err != nil {
		return err
	}
	if bad > 0 {
		return &exitError{code: 1}
	}
	return nil
}

func printVerified(out io.Writer, format string, list []verdictOnCommit, bad int) error {
	if format == "json" || format == "yaml" {
		return writeAs(out, format, list)
	}
	for _, v := range list {
		for _, fault := range v.Faults {
			if _, err := fmt.Fprintf(out, "%s by %s: %s\n", v.Commit, v.Committer, fault); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(out, "%d commits with trailers, %d not what they say\n", len(list), bad)
	return err
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-logr/zapr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/klog/v2"

	"hoist/config"
	"hoist/daemon"
	"hoist/reconcile"
)

// settings are the flags that every verb with a configuration has.
type settings struct {
	config      []string
	dataDir     string
	kubeconfig  string
	context     string
	namespace   string
	instance    string
	buildMemory string
	logLevel    string
	logFormat   string
}

// newSettings adds the flags to cmd. quiet verbs log warnings only.
func newSettings(cmd *cobra.Command, logLevel string) *settings {
	s := &settings{}
	f := cmd.Flags()
	f.StringSliceVarP(&s.config, "config", "c", []string{"hoist.yaml"}, "configuration file, or directory of *.yaml; may repeat")
	f.StringVar(&s.dataDir, "data-dir", defaultDataDir(), "where caches are kept; deleting it loses nothing")
	f.StringVar(&s.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster; default: the cluster we run in, or what kubectl uses")
	f.StringVar(&s.context, "context", "", "context of the kubeconfig; default: its current one")
	f.StringVar(&s.namespace, "namespace", "hoist", "namespace of the inventories and the lease")
	f.StringVar(&s.buildMemory, "build-memory", "", "most that one build may use, as 512Mi; default: 1Gi, or a third of the container's memory")
	f.StringVar(&s.instance, "instance", "", "name of this Hoist among those with the same --namespace, by which it knows its own inventories; run: --lease when empty")
	f.StringVar(&s.logLevel, "log-level", logLevel, "debug, info, warn or error")
	f.StringVar(&s.logFormat, "log-format", "console", "console or json")
	return s
}

func defaultDataDir() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "hoist")
	}
	return filepath.Join(os.TempDir(), "hoist")
}

// load reads and checks the configuration.
func (s *settings) load() (*config.Config, error) {
	cfg, err := config.Load(s.config...)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &exitError{code: 1, err: err, hints: []string{"name the configuration with -c FILE"}}
	}
	return cfg, err
}

// options returns what a house needs besides its configuration.
func (s *settings) options(cmd *cobra.Command) (daemon.Options, error) {
	log, err := s.logger(cmd)
	if err != nil {
		return daemon.Options{}, err
	}
	memory, err := s.mostMemory()
	if err != nil {
		return daemon.Options{}, err
	}
	return daemon.Options{
		DataDir: s.dataDir, Kubeconfig: s.kubeconfig, Context: s.context, Namespace: s.namespace, Instance: s.instance, Log: log,
		Builds: reconcile.BuilderOptions{Command: []string{"", workerVerb}, Memory: memory},
	}, nil
}

// leastBuildMemory is what kustomize needs for the smallest of builds, and some.
const leastBuildMemory = 128 << 20

// mostMemory is what one build may use, 0 where nothing is said.
func (s *settings) mostMemory() (int64, error) {
	if s.buildMemory == "" {
		return 0, nil
	}
	q, err := resource.ParseQuantity(s.buildMemory)
	if err != nil {
		return 0, fmt.Errorf("--build-memory %q: write a size as 512Mi or 1Gi", s.buildMemory)
	}
	if q.Value() < leastBuildMemory {
		return 0, fmt.Errorf("--build-memory %q: is too little for any build, which takes 128Mi", s.buildMemory)
	}
	return q.Value(), nil
}

// openReader is open for verbs that only read: they work beside a daemon that
// has the same data directory.
func (s *settings) openReader(cmd *cobra.Command) (*daemon.House, error) {
	return s.openHouse(cmd, true)
}

// reading makes cmd a verb that opens the configuration, reads, and prints a
// table or, with -o, data for programs.
func reading(cmd *cobra.Command, read func(cmd *cobra.Command, h *daemon.House, format string, args []string) error) {
	readingAs(cmd, []string{"table", "json", "yaml"}, read)
}

// readingAs is reading with other formats, of which the first is the default.
func readingAs(cmd *cobra.Command, formats []string, read func(cmd *cobra.Command, h *daemon.House, format string, args []string) error) {
	s := newSettings(cmd, "warn")
	format := cmd.Flags().StringP("output", "o", formats[0], strings.Join(formats, ", "))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkFormat(*format, formats...); err != nil {
			return err
		}
		h, err := s.openReader(cmd)
		if err != nil {
			return err
		}
		defer h.Close()
		return read(cmd, h, *format, args)
	}
}

// open loads the configuration and opens its rooms.
func (s *settings) open(cmd *cobra.Command) (*daemon.House, error) {
	return s.openHouse(cmd, false)
}

func (s *settings) openHouse(cmd *cobra.Command, reader bool) (*daemon.House, error) {
	cfg, err := s.load()
	if err != nil {
		return nil, err
	}
	o, err := s.options(cmd)
	if err != nil {
		return nil, err
	}
	o.Reader = reader
	return daemon.Open(cfg, o), nil
}

// logger writes to stderr: stdout is for data.
func (s *settings) logger(cmd *cobra.Command) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(s.logLevel)
	if err != nil {
		return nil, fmt.Errorf("--log-level %q: choose debug, info, warn or error", s.logLevel)
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339TimeEncoder
	var encoder zapcore.Encoder
	switch s.logFormat {
	case "json":
		encoder = zapcore.NewJSONEncoder(encoding)
	case "console":
		encoding.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(encoding)
	default:
		return nil, fmt.Errorf("--log-format %q: choose console or json", s.logFormat)
	}
	log := zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(cmd.ErrOrStderr())), level))
	klog.SetLogger(zapr.NewLogger(log.Named("kubernetes")))
	return log, nil
}

// fromEnvironment gives every flag that was not typed the value of its
// variable: --data-dir is HOIST_DATA_DIR.
func fromEnvironment(cmd *cobra.Command) error {
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := "HOIST_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if !ok || f.Changed || failed != nil {
			return
		}
		if err := cmd.Flags().Set(f.Name, value); err != nil {
			failed = fmt.Errorf("%s: %w", name, err)
		}
	})
	return failed
}

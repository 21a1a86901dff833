package main

import (
	"context"

	"go.uber.org/zap"

	"hoist/scanner"
)

// listTags reads the tags of an image with the credentials of the docker config file.
func listTags(ctx context.Context, image string, insecure bool) ([]string, error) {
	s := scanner.New(scanner.Options{Log: zap.NewNop()})
	defer s.Close()
	tags, err := s.Scan(ctx, scanner.Source{Image: scanner.Image{Image: image, Insecure: insecure}}, "select")
	return tags.List, err
}

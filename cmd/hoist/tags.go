package main

import (
	"context"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/policy"
	"hoist/scanner"
)

// counter is the [shop] with the credentials of the docker config file.
type counter struct{ scanner *scanner.Scanner }

func openCounter() (shop, func()) {
	s := scanner.New(scanner.Options{Log: zap.NewNop()})
	return counter{s}, s.Close
}

func (c counter) List(ctx context.Context, image string, insecure bool) ([]string, error) {
	tags, err := c.scanner.Scan(ctx, source(image, insecure), "select")
	return tags.List, err
}

func (c counter) Inspect(ctx context.Context, image string, insecure bool, tag string, asks policy.Asks) (bump.Artifact, error) {
	return c.scanner.Inspect(ctx, source(image, insecure), tag, scanner.Wants{Platforms: asks.Platforms, Created: asks.Created})
}

func source(image string, insecure bool) scanner.Source {
	return scanner.Source{Image: scanner.Image{Image: image, Insecure: insecure}}
}

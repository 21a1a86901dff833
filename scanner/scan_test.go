package scanner

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// push writes the same small manifest under each tag of a registry.
func push(t *testing.T, address, repo string, tags ...string) {
	t.Helper()
	const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`
	for _, tag := range tags {
		req, err := http.NewRequest(http.MethodPut, fmt.Sprintf("http://%s/v2/%s/manifests/%s", address, repo, tag), strings.NewReader(manifest))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("push %s:%s: %s", repo, tag, resp.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestScanOfARegistry(t *testing.T) {
	address := serve(t, registry.New(registry.Logger(discard)))
	push(t, address, "acme/web", "2.3.1", "10.0.0", "2.4.0")
	tags := mustScan(t, newScanner(t, Options{}), plain(address, "acme/web"))
	if want := []string{"10.0.0", "2.3.1", "2.4.0"}; !slices.Equal(tags.List, want) {
		t.Errorf("List = %q, want %q", tags.List, want)
	}
	if tags.Image != address+"/acme/web" || tags.Trigger != "once" || tags.Scanned.IsZero() {
		t.Errorf("Tags = %q %q %v: want the image as it was spelt, the trigger and a time", tags.Image, tags.Trigger, tags.Scanned)
	}
}

// This registry obeys n and never links to the next page.
func TestScanOfARegistryThatNeverLinks(t *testing.T) {
	address := serve(t, registry.New(registry.Logger(discard)))
	want := numbered(2*pageSize + 7)
	push(t, address, "acme/web", want...)
	tags := mustScan(t, newScanner(t, Options{}), plain(address, "acme/web"))
	if !slices.Equal(tags.List, want) {
		t.Errorf("got %d tags, want %d", len(tags.List), len(want))
	}
}

func TestScanFollowsPages(t *testing.T) {
	want := numbered(2500)
	for _, most := range []int{0, 100, 999} {
		list := &tagList{tags: want, pageMost: most}
		tags := mustScan(t, newScanner(t, Options{}), plain(serve(t, list), "acme/web"))
		if !slices.Equal(tags.List, want) {
			t.Errorf("with pages of %d: got %d tags, want %d", most, len(tags.List), len(want))
		}
	}
}

// A registry that links to its pages is believed when it does not: a full last
// page costs no further request.
func TestScanBelievesLinks(t *testing.T) {
	list := &tagList{tags: numbered(2 * pageSize)}
	if tags := mustScan(t, newScanner(t, Options{}), plain(serve(t, list), "acme/web")); len(tags.List) != 2*pageSize || list.lists() != 2 {
		t.Errorf("got %d tags in %d requests, want %d in 2", len(tags.List), list.lists(), 2*pageSize)
	}
}

// A registry that links, and has many lists that fill their last page, is asked
// once whether it links.
func TestScanLearnsThatARegistryLinks(t *testing.T) {
	list := &tagList{tags: numbered(pageSize)}
	address, s := serve(t, list), newScanner(t, Options{})
	for n := range 5 {
		if tags := mustScan(t, s, plain(address, fmt.Sprintf("acme/web%d", n))); len(tags.List) != pageSize || list.lists() != 2+n {
			t.Errorf("image %d: %d tags, %d requests so far, want %d", n, len(tags.List), list.lists(), 2+n)
		}
	}
}

// Docker's old registry ignores n, knows no pages and does not sort.
func TestScanOfARegistryThatIgnoresN(t *testing.T) {
	want := numbered(3000)
	mixed := append(slices.Clone(want[1500:]), want[:1600]...)
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { writeTags(w, mixed) }))
	tags := mustScan(t, newScanner(t, Options{}), plain(address, "acme/web"))
	if !slices.Equal(tags.List, want) {
		t.Errorf("got %d tags, want %d, each once and in byte order", len(tags.List), len(want))
	}
}

func TestScanDropsWhatIsNoTag(t *testing.T) {
	list := &tagList{tags: []string{"1.0", "", "-x", ".y", "a b", "ä", strings.Repeat("a", 129), "_ok", "Z"}}
	tags := mustScan(t, newScanner(t, Options{}), plain(serve(t, list), "acme/web"))
	if want := []string{"1.0", "Z", "_ok"}; !slices.Equal(tags.List, want) {
		t.Errorf("List = %q, want %q", tags.List, want)
	}
}

// R22: what cosign leaves beside an image is no version of it.
func TestScanExcludes(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	list := &tagList{tags: []string{"1.0", "sha256-" + hex, "sha256-" + hex + ".att", "sha256-" + hex + ".sbom", "sha256-" + hex + ".sig", "sha256-short"}}
	address := serve(t, list)
	s := newScanner(t, Options{})
	for _, c := range []struct {
		exclusions []string
		want       int
	}{
		{nil, 2}, {[]string{}, 6}, {[]string{`^.*\.sig$`}, 5}, {[]string{`^sha256-`, `^1\.`}, 0},
	} {
		src := plain(address, "acme/web")
		src.Image.ExclusionList = c.exclusions
		if tags := mustScan(t, s, src); len(tags.List) != c.want {
			t.Errorf("exclusionList %q leaves %q, want %d tags", c.exclusions, tags.List, c.want)
		}
	}
}

func TestScanOfAnEmptyRepository(t *testing.T) {
	s := newScanner(t, Options{})
	for _, body := range []string{`{"name":"x","tags":null}`, `{"name":"x","tags":[]}`, `{"name":"x"}`} {
		address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, body) }))
		if tags := mustScan(t, s, plain(address, "acme/web")); len(tags.List) != 0 {
			t.Errorf("%s gave %q, want no tags", body, tags.List)
		}
	}
}

// A list that was read before is recognised page by page: what comes out is
// what a first scan would give, and "changed" means just that.
func TestRepeatedScan(t *testing.T) {
	list := &tagList{}
	src := plain(serve(t, list), "acme/web")
	s := newScanner(t, Options{})
	s.pageSize = 10
	var known snapshot
	base := numbered(35)
	without := func(n int) []string { return slices.Delete(slices.Clone(base), n, n+1) }
	var last []string
	for i, tags := range [][]string{
		nil, nil, base, base, base[:34], base, base[:30], base[:20], base[:5], base, without(0), base, without(12), without(34),
		append(slices.Clone(base), "2.0"), append([]string{"0.1"}, base...), {"-no-tag"}, nil,
	} {
		list.set(tags...)
		changed, fail := s.scan(t.Context(), src, &known, caution{maxLoss: 100})
		if fail != nil {
			t.Fatal(fail)
		}
		want := mustScanSmall(t, src)
		if !slices.Equal(known.tags, want) {
			t.Errorf("step %d: %d tags, a first scan gives %d", i, len(known.tags), len(want))
		}
		if differs := i == 0 || !slices.Equal(want, last); changed != differs {
			t.Errorf("step %d: changed = %t, want %t", i, changed, differs)
		}
		last = want
	}
}

func mustScanSmall(t *testing.T, src Source) []string {
	s := newScanner(t, Options{})
	s.pageSize = 10
	return mustScan(t, s, src).List
}

package scanner

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"hoist/bump"
)

// last returns the last outcome for name.
func (d *diary) last(t *testing.T, name string) Outcome {
	t.Helper()
	all := d.of(name)
	if len(all) == 0 {
		t.Fatalf("nothing was told of %s", name)
	}
	return all[len(all)-1]
}

// watched returns options whose log is read by the test.
func watched(o Options) (Options, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	o.Log = zap.New(core)
	return o, logs
}

// R20, R21: a list that lost too much, or a tag in use, changes nothing until
// it is found again after a pause.
func TestR20R21Suspicion(t *testing.T) {
	full := numbered(10)
	without := func(n ...int) []string {
		var left []string
		for i, tag := range full {
			if !slices.Contains(n, i) {
				left = append(left, tag)
			}
		}
		return left
	}
	for name, c := range map[string]struct {
		then    []string
		maxLoss Percent
		inUse   string
		want    string // the suspicion's beginning, "" for none
	}{
		"empty":              {nil, 0, "", "lists none of 10 known tags; the old list counts until a second scan confirms it, at "},
		"four left":          {full[:4], 0, "", "lists 4 of 10 known tags; "},
		"half left":          {full[:5], 0, "", ""},
		"half left of 60%":   {full[:4], 60, "", ""},
		"new ones instead":   {[]string{"2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7", "2.8", "2.9"}, 0, "", "lists none of 10 known tags; "},
		"lost one":           {without(3), 0, "", ""},
		"lost one of 5%":     {without(3), 5, "", "lists 9 of 10 known tags; "},
		"lost one in use":    {without(3), 0, full[3], "no longer lists 1.0.0000003, which is in use; "},
		"lost another":       {without(4), 0, full[3], ""},
		"in use and unknown": {without(4), 0, "9.9", ""},
		"grew":               {append(slices.Clone(full), "2.0"), 1, full[3], ""},
		"empty, believed":    {nil, 100, full[3], ""},
	} {
		t.Run(name, func(t *testing.T) {
			o, logs := watched(Options{})
			bubble(t, o, func(t *testing.T, s *Scanner, network *pipeNet) {
				list := &tagList{tags: full}
				network.serve(t, "reg.example:80", list)
				src := plain("reg.example", "web")
				src.Image.Interval = bump.Duration(10 * time.Minute)
				src.Image.MaxLoss = c.maxLoss
				src.InUse = func() []string { return []string{c.inUse} }
				var notes diary
				defer start(t, s, &notes, src)()
				settle(time.Second)
				list.set(c.then...)
				s.Wake("reg.example/web", "webhook")
				settle(time.Second)
				got := notes.last(t, "web")
				if !strings.HasPrefix(got.Suspicion, c.want) || (got.Suspicion == "") != (c.want == "") || got.Err != nil {
					t.Errorf("suspicion %q, %v, want %q", got.Suspicion, got.Err, c.want)
				}
				if c.want == "" {
					if !slices.Equal(got.Tags.List, c.then) {
						t.Errorf("List = %q, want %q", got.Tags.List, c.then)
					}
					return
				}
				if got.Changed || !slices.Equal(got.Tags.List, full) {
					t.Errorf("a suspicious list came out: %t, %q", got.Changed, got.Tags.List)
				}
				s.Wake("reg.example/web", "webhook") // too early to confirm anything
				settle(longestDoubt / 2)
				if got := notes.last(t, "web"); got.Changed || got.Suspicion == "" {
					t.Errorf("half a minute later: %+v", got)
				}
				settle(longestDoubt)
				if got := notes.last(t, "web"); !got.Changed || got.Suspicion != "" || !slices.Equal(got.Tags.List, c.then) {
					t.Errorf("after the pause: %t, %q, %q, want the new list", got.Changed, got.Suspicion, got.Tags.List)
				}
				if logs.FilterMessage("tag list is suspicious").Len() != 1 {
					t.Errorf("said %v, want one line of suspicion", logs.All())
				}
				shrank := logs.FilterMessage("tag list shrank").All()
				if len(shrank) != 1 || shrank[0].ContextMap()["from"] != int64(10) || shrank[0].ContextMap()["to"] != int64(len(c.then)) {
					t.Errorf("said %v, want one line that the list shrank", logs.All())
				}
			})
		})
	}
}

// R21: a registry that is full at every second look, or fills up again slowly,
// never changes anything.
func TestR21Flapping(t *testing.T) {
	full := numbered(100)
	for name, lists := range map[string][][]string{
		"empty and full": {nil, full, nil, full, nil, full},
		"filling up":     {nil, full[:10], full[:20], full[:30], full[:40], full},
		"falling apart":  {full[:40], full[:10], nil, full[:40], nil, full},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
				list := &tagList{tags: full}
				network.serve(t, "reg.example:80", list)
				src := plain("reg.example", "web")
				src.Image.Interval = bump.Duration(24 * time.Hour)
				var notes diary
				defer start(t, s, &notes, src)()
				settle(time.Second)
				for i, tags := range lists {
					list.set(tags...)
					s.Wake("reg.example/web", "webhook")
					settle(time.Second)
					if doubtful := notes.last(t, "web").Suspicion != ""; doubtful != (len(tags) < len(full)) {
						t.Errorf("step %d: suspicious = %t with %d tags", i, doubtful, len(tags))
					}
					settle(longestDoubt - 2*time.Second)
				}
				for _, o := range notes.of("web")[1:] {
					if o.Changed || len(o.Tags.List) != len(full) {
						t.Errorf("%d tags came out, changed = %t", len(o.Tags.List), o.Changed)
					}
				}
			})
		})
	}
}

// R21: a source that shares its scan with a bolder one keeps its caution.
func TestR21SharedScanIsCautious(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		list := &tagList{tags: numbered(10)}
		network.serve(t, "reg.example:80", list)
		bold, careful := plain("reg.example", "web"), plain("reg.example", "web")
		bold.Image.MaxLoss, careful.Image.Name.Name = 100, "careful"
		careful.InUse = func() []string { return []string{"1.0.0000009"} }
		var notes diary
		defer start(t, s, &notes, bold, careful)()
		settle(time.Second)
		list.set(numbered(9)...)
		s.Wake("reg.example/web", "webhook")
		settle(time.Second)
		for _, name := range []string{"web", "careful"} {
			if got := notes.last(t, name); got.Suspicion == "" || len(got.Tags.List) != 10 {
				t.Errorf("%s: %d tags, suspicion %q", name, len(got.Tags.List), got.Suspicion)
			}
		}
	})
}

// R21: what is known and what is doubted outlives the process, for Run as for
// Once; a process that only reads changes neither.
func TestR21SuspicionOutlivesTheProcess(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *Scanner, network *pipeNet) {
		o := Options{CacheDir: t.TempDir()}
		list := &tagList{tags: numbered(10)}
		network.serve(t, "reg.example:80", list)
		src := plain("reg.example", "web")
		look := func(o Options) Outcome {
			t.Helper()
			s := newScanner(t, o)
			s.dial = network.dial
			got := s.Once(t.Context(), src, "once")
			if got.Err != nil {
				t.Fatal(got.Err)
			}
			return got
		}
		reader := Options{CacheDir: o.CacheDir, CacheReadOnly: true}
		look(o)
		list.set("2.0")
		if got := look(reader); got.Suspicion == "" || len(got.Tags.List) != 10 {
			t.Errorf("a reader got %d tags, suspicion %q, want the old list", len(got.Tags.List), got.Suspicion)
		}
		time.Sleep(2 * longestDoubt)
		if got := look(o); got.Suspicion == "" || len(got.Tags.List) != 10 {
			t.Errorf("once got %d tags, suspicion %q: a reader's look confirms nothing", len(got.Tags.List), got.Suspicion)
		}
		time.Sleep(2 * longestDoubt)
		if got := look(reader); got.Suspicion != "" || len(got.Tags.List) != 1 {
			t.Errorf("a reader got %d tags, suspicion %q, want the confirmed list", len(got.Tags.List), got.Suspicion)
		}
		s := newScanner(t, o)
		s.dial = network.dial
		var notes diary
		stop := start(t, s, &notes, src)
		if got := notes.last(t, "web"); !got.Changed || got.Suspicion == "" || len(got.Tags.List) != 10 {
			t.Errorf("a daemon begins with %d tags, suspicion %q, want the old list and the doubt", len(got.Tags.List), got.Suspicion)
		}
		settle(longestDoubt)
		if got := notes.last(t, "web"); got.Suspicion != "" || len(got.Tags.List) != 1 {
			t.Errorf("a daemon got %d tags, suspicion %q, want the doubt of the last process confirmed", len(got.Tags.List), got.Suspicion)
		}
		stop()
		src.Image.MaxLoss = 100
		list.set()
		if got := look(o); got.Suspicion != "" || len(got.Tags.List) != 0 {
			t.Errorf("with maxLoss: 100%%: %d tags, suspicion %q, want none of either", len(got.Tags.List), got.Suspicion)
		}
	})
}

func TestPercent(t *testing.T) {
	for in, want := range map[string]Percent{"1%": 1, "50%": 50, "100%": 100, "0%": 0, "101%": 0, "50": 0, "-1%": 0, "%": 0, "5.5%": 0} {
		var got Percent
		err := got.UnmarshalText([]byte(in))
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d, %v, want %d", in, got, err, want)
		}
		if text, _ := got.MarshalText(); want > 0 && string(text) != in {
			t.Errorf("%d is written %q, want %q", got, text, in)
		}
	}
}

// R28: a restart is no storm. What is known is told at once and read again
// over an interval; what did not change is written nowhere, and who deletes
// the cache loses nothing.
func TestR28Restart(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *Scanner, network *pipeNet) {
		const images = 200
		o := Options{CacheDir: t.TempDir(), PerSecond: -1}
		list := &tagList{tags: numbered(10)}
		network.serve(t, "reg.example:80", list)
		var sources []Source
		for n := range images {
			src := plain("reg.example", fmt.Sprintf("web%d", n))
			src.Image.Interval = bump.Duration(10 * time.Minute)
			sources = append(sources, src)
		}
		run := func(d *diary) (*Scanner, func()) {
			s := newScanner(t, o)
			s.dial = network.dial
			return s, start(t, s, d, sources...)
		}
		s, stop := run(new(diary))
		settle(time.Hour)
		if got := s.shelf.writes.Load(); got != images {
			t.Errorf("%d writes in an hour without news, want %d: each list once", got, images)
		}
		stop()
		if got := s.shelf.writes.Load(); got != images+1 {
			t.Errorf("%d writes at the end, want one more for the times", got-images)
		}

		for _, pause := range []time.Duration{time.Second, 24 * time.Hour} {
			time.Sleep(pause)
			before := list.lists()
			var notes diary
			s, stop = run(&notes)
			if got := len(notes.list()); got != images || list.lists() != before {
				t.Errorf("%d lists told at once in %d scans, want %d in none", got, list.lists()-before, images)
			}
			if age := time.Since(notes.last(t, "web7").Tags.Scanned); age < pause || age > pause+12*time.Minute {
				t.Errorf("the list of web7 is said to be %v old after a pause of %v", age, pause)
			}
			settle(time.Minute)
			if got := list.lists() - before; got > 60 {
				t.Errorf("%d scans in the first minute after a restart, want some 20 of %d", got, images)
			}
			settle(10 * time.Minute)
			if got := list.lists() - before; got < images {
				t.Errorf("%d scans within an interval, want each of %d images", got, images)
			}
			if got := s.shelf.writes.Load(); got != 0 {
				t.Errorf("%d writes after a restart without news, want none", got)
			}
			stop()
		}

		if err := os.RemoveAll(o.CacheDir); err != nil {
			t.Fatal(err)
		}
		var notes diary
		_, stop = run(&notes)
		defer stop()
		settle(ramp)
		if got := len(notes.list()); got != images {
			t.Errorf("%d of %d images read without the cache", got, images)
		}
		for _, o := range notes.list() {
			if o.Err != nil || !o.Changed || len(o.Tags.List) != 10 {
				t.Fatalf("without the cache: %+v", o)
			}
		}
	})
}

// Tags outside the grammar are counted where people look.
func TestDroppedTagsAreCounted(t *testing.T) {
	list := &tagList{tags: []string{"1.0", "a b", "-x"}}
	s := newScanner(t, Options{CacheDir: t.TempDir()})
	src := plain(serve(t, list), "acme/web")
	for range 2 { // the second time out of the cache
		if got := s.Once(t.Context(), src, "once"); got.Dropped != 2 || len(got.Tags.List) != 1 {
			t.Errorf("Once = %d tags, %d dropped, want 1 and 2", len(got.Tags.List), got.Dropped)
		}
	}
	if got := s.Known(src); !slices.Equal(got, []string{"1.0"}) {
		t.Errorf("Known = %q", got)
	}
}

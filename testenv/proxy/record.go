package proxy

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Request is a request that came by. Whether it was authorized is known, by what
// is not.
type Request struct {
	Time       time.Time
	Method     string
	Path       string
	Query      string
	Authorized bool // it had an Authorization header
	Write      bool // see Writes
	Faulty     bool // a fault was played for it
	Status     int  // of the answer; 0 until there is one, and when there is none
}

func (p *Proxy) arrive(r *http.Request) (*Request, Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fault, faulty := p.choose(r)
	record := &Request{
		Time: time.Now(), Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery,
		Authorized: r.Header.Get("Authorization") != "", Write: isWrite(r), Faulty: faulty,
	}
	p.requests = append(p.requests, record)
	close(p.news)
	p.news = make(chan struct{})
	return record, fault
}

func (p *Proxy) answered(r *Request, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.Status = status
}

// isWrite tells whether a request asks the target to change something. Not every
// POST does: a fetch is one, a dry run is one, and so are questions to the API
// server about rights.
func isWrite(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	case http.MethodPost:
		if strings.HasSuffix(r.URL.Path, "/git-upload-pack") ||
			strings.HasPrefix(r.URL.Path, "/apis/authorization.k8s.io/") ||
			strings.HasPrefix(r.URL.Path, "/apis/authentication.k8s.io/") {
			return false
		}
	}
	return r.URL.Query().Get("dryRun") != "All"
}

// Requests returns what came by so far, in the order of arrival.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Request, len(p.requests))
	for i, r := range p.requests {
		all[i] = *r
	}
	return all
}

// Count returns how many requests came by for which match is true.
func (p *Proxy) Count(match func(Request) bool) int {
	n := 0
	for _, r := range p.Requests() {
		if match(r) {
			n++
		}
	}
	return n
}

// Methods returns how many requests came by of each method.
func (p *Proxy) Methods() map[string]int {
	n := map[string]int{}
	for _, r := range p.Requests() {
		n[r.Method]++
	}
	return n
}

// Writes returns how many requests asked the target to change something: all but
// GET, HEAD and OPTIONS, a POST that only fetches from Git, reviews of rights,
// and dry runs on an API server.
func (p *Proxy) Writes() int { return p.Count(func(r Request) bool { return r.Write }) }

// Forget empties the record.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

// Await waits until a request has come by for which match is true, and returns
// the first such. One that came before counts.
func (p *Proxy) Await(ctx context.Context, match func(Request) bool) (Request, error) {
	for {
		p.mu.Lock()
		news := p.news
		p.mu.Unlock()
		all := p.Requests()
		for _, r := range all {
			if match(r) {
				return r, nil
			}
		}
		select {
		case <-ctx.Done():
			return Request{}, fmt.Errorf("no such request among %d: %w", len(all), context.Cause(ctx))
		case <-news:
		}
	}
}

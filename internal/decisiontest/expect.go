package decisiontest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// parseRequest reads "METHOD /path name:value … | BODY".
func parseRequest(line string) (Request, error) {
	head, body, hasBody := strings.Cut(line, " | ")
	words := strings.Fields(head)
	if len(words) < 2 {
		return Request{}, errors.New("a request is METHOD /path name:value … | BODY")
	}
	req := Request{Method: words[0], Path: words[1], Host: "example.com", HasBody: hasBody}
	if hasBody {
		unquoted, err := strconv.Unquote(`"` + strings.ReplaceAll(escapeForUnquote(body), `"`, `\"`) + `"`)
		if err != nil {
			return Request{}, fmt.Errorf("body: %w", err)
		}
		req.Body = unquoted
	}
	typed := false
	for _, w := range words[2:] {
		name, value, ok := strings.Cut(w, ":")
		if !ok {
			return Request{}, fmt.Errorf("%q is not name:value", w)
		}
		if name == "host" {
			req.Host = value
			continue
		}
		typed = typed || name == "content-type"
		req.Headers = append(req.Headers, [2]string{name, value})
	}
	if hasBody && !typed {
		req.Headers = append(req.Headers, [2]string{"content-type", "application/json"})
	}
	return req, nil
}

// escapeForUnquote keeps JSON's own escapes as they are: of all backslashes only \xNN and \n are the script's.
func escapeForUnquote(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] == '\\' && (i+1 >= len(s) || s[i+1] != 'x' && s[i+1] != 'n') {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// expect checks the outcome of the last request line.
func (r *run) expect(words []string) error {
	if len(r.last) == 0 {
		return errors.New("there was no request")
	}
	switch {
	case len(words) == 3 && words[0] == "share":
		return r.expectShare(words[1], words[2])
	case len(words) == 3 && words[0] == "most":
		return r.expectMost(words[1], words[2])
	case len(words) == 2 && words[0] == "some":
		return r.expectSome(words[1])
	case len(words) == 2:
		for _, o := range r.last {
			if fmt.Sprint(o.Status) != words[0] || o.Problem != words[1] {
				return fmt.Errorf("got %v", o)
			}
		}
		return nil
	case len(words) != 3:
		return errors.New("expected: SERVICE STATE ENDPOINT, STATUS CODE, share SERVICE LOW..HIGH, most SERVICE N, or some ENDPOINT")
	}
	for _, o := range r.last {
		if o.Problem != "" || o.Service != words[0] || o.Session != words[1] {
			return fmt.Errorf("got %v", o)
		}
		if err := r.expectEndpoint(o, words[2]); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) expectEndpoint(o Outcome, want string) error {
	switch {
	case want == "*":
		return nil
	case strings.HasPrefix(want, "!$"):
		if r.names[want[1:]] == o.Endpoint {
			return fmt.Errorf("got %v, the endpoint that it must not be", o)
		}
		return nil
	case strings.HasPrefix(want, "$") && r.names[want] == "":
		r.names[want] = o.Endpoint
		return nil
	}
	ep, err := r.endpoint(want)
	if err == nil && ep != o.Endpoint {
		err = fmt.Errorf("got %v, want it at %s", o, ep)
	}
	return err
}

func (r *run) expectShare(service, span string) error {
	var low, high float64
	from, to, _ := strings.Cut(span, "..")
	if _, err := fmt.Sscan(from+" "+to, &low, &high); err != nil {
		return err
	}
	n := 0
	for _, o := range r.last {
		if o.Service == service {
			n++
		}
	}
	if share := 100 * float64(n) / float64(len(r.last)); share < low || share > high {
		return fmt.Errorf("%s got %.1f %%", service, share)
	}
	return nil
}

func (r *run) expectSome(endpoint string) error {
	ep, err := r.endpoint(endpoint)
	if err != nil {
		return err
	}
	for _, o := range r.last {
		if o.Endpoint == ep {
			return nil
		}
	}
	return fmt.Errorf("%s got none", ep)
}

func (r *run) expectMost(service, limit string) error {
	most, err := strconv.Atoi(limit)
	if err != nil {
		return err
	}
	got := map[string]int{}
	for _, o := range r.last {
		if o.Service != service {
			return fmt.Errorf("got %v", o)
		}
		got[o.Endpoint]++
	}
	for ep, n := range got {
		if n > most {
			return fmt.Errorf("%s got %d", ep, n)
		}
	}
	return nil
}

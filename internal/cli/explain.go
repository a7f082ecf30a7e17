package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/session"
)

// maxExplainBody bounds the body of a request to explain: the largest maxBody that a policy can set, and one byte to be over it.
const maxExplainBody = 1<<20 + 1

// explainFlags are the flags that describe the request.
type explainFlags struct {
	method, scheme, host, path, sourceIP, body string
	port                                       int
	headers                                    []string
}

// paperNote is said where the choice of a replica is one of several that a gateway could make.
const paperNote = "a gateway has sessions and a hash key of its own, so it may choose another of these replicas (--hash-key-file)"

func newExplain(version string, env Env) *cobra.Command {
	var hashKeyFile string
	var flags explainFlags
	var options config.Options
	cmd := &cobra.Command{
		Use:   "explain {-f PATH… | --kubernetes | --gateway URL} [flags]",
		Short: "Say where a request would go, and why",
		Long: `Say where a request would go, and why: the promoted fields and where each came from, the rule that matched with its file and
line, the session's key, the session's state, the replicas in the order in which they are tried with their load, and the choice.

The decision is made by the code that serves requests: from files (-f) or a cluster (--kubernetes), with no session yet and no question to DNS, or by a
running gateway (--gateway, or $REMORA_GATEWAY) from the sessions that it has. Nothing is sent to a replica, no session begins
or is renewed, and the key is not stored. A request that would be refused is explained as well, with exit status 0.`,
		Example: `  remora explain -f examples/hit-backend --path /hit_backend --body '{"username":"user","target":"backend-1"}'
  remora explain -f examples/hit-backend --header 'target: backend-2' --header 'x-user: kaleeswaran'
  remora explain --kubernetes --istio --host shop.example.com --path /cart
  remora explain --gateway ` + admin.DefaultAddress + ` --method POST --body @request.json -o json`,
		Args: noArgs,
	}
	source := addSource(cmd)
	source.addTimeout(cmd)
	addProxied(cmd, &options.Proxied)
	g := addGateway(cmd, env, "ask the running gateway with this admin API, http://host:port, in place of reading files")
	f := cmd.Flags()
	f.StringArrayVarP(&flags.headers, "header", "H", nil, "header of the request, 'name: value'; repeatable")
	f.StringVar(&flags.body, "body", "", "body of the request: the text itself, @FILE, or @- for standard input; at most 1 MiB is looked at")
	f.StringVar(&flags.method, "method", "", "method (default POST with --body, else GET)")
	f.StringVar(&flags.path, "path", "/", "path, with the query")
	f.StringVar(&flags.host, "host", "localhost", "Host header")
	f.IntVar(&flags.port, "port", 80, "port of the Gateway's server that the request comes in through (not the port listened on)")
	f.StringVar(&flags.scheme, "scheme", "http", "http or https")
	f.StringVar(&flags.sourceIP, "source-ip", "127.0.0.1", "the client's address")
	f.StringVar(&hashKeyFile, "hash-key-file", "", "with -f or --kubernetes: the gateway's file with the secret that users' keys are hashed with, to place new sessions as it does")
	output := addOutput(cmd)
	cmd.RunE = runs(func(cmd *cobra.Command, _ []string) error {
		given, err := source.given(cmd)
		if err == nil {
			err = flags.check(given, g, options.Proxied)
		}
		if err != nil {
			return err
		}
		req, err := flags.request(env, cmd.Flags().Changed("body"))
		if err != nil {
			return err
		}
		var trace *affinity.Trace
		if given {
			trace, err = explainOnPaper(cmd.Context(), version, env, source, options, hashKeyFile, req)
		} else {
			trace, err = explainBy(cmd.Context(), g, req)
		}
		if err != nil {
			return err
		}
		if *output == "json" {
			return printJSON(env.Stdout, trace)
		}
		note := ""
		if given && hashKeyFile == "" && trace.Session == affinity.SessionNew.String() && len(trace.Candidates) > 1 {
			note = "from files: " + paperNote
			if source.kubernetes {
				note = "from the cluster's objects: " + paperNote
			}
		}
		return printTrace(env.Stdout, trace, note)
	})
	return cmd
}

// explainBy asks a running gateway.
func explainBy(ctx context.Context, g *gatewayFlag, req *admin.ExplainRequest) (*affinity.Trace, error) {
	client, err := g.client()
	if err != nil {
		return nil, err
	}
	trace, err := client.Explain(ctx, *req)
	if err != nil {
		return nil, advise(err)
	}
	return trace, nil
}

// explainOnPaper asks an engine made from files, or from the objects of a cluster.
func explainOnPaper(ctx context.Context, version string, env Env, source *sourceFlags, o config.Options, hashKeyFile string, req *admin.ExplainRequest) (*affinity.Trace, error) {
	loaded, err := source.load(ctx, version, env, o)
	if err != nil {
		return nil, err
	}
	// Who asks about one request, again and again, has seen the warnings.
	printDiagnostics(env.Stderr, slices.DeleteFunc(slices.Clone(loaded.Diagnostics), func(d diag.Diagnostic) bool { return d.Severity == diag.Warning }))
	if found := countFindings(loaded.Diagnostics); found.warnings > 0 {
		fmt.Fprintf(env.Stderr, "the configuration has %s: remora validate lists them\n", counted(found.warnings, "warning"))
	}
	if loaded.Snapshot == nil {
		return nil, fmt.Errorf("%w%s", errInvalid, istioHint(loaded.Diagnostics))
	}
	now := time.Now()
	engine, err := loaded.Paper(now, hashKeyFile)
	if err != nil {
		return nil, err
	}
	trace, err := req.Explain(engine, session.InstantOf(now))
	if err != nil {
		return nil, usagef("%v", err)
	}
	return trace, nil
}

// check checks the flags that say what is asked.
func (f *explainFlags) check(given bool, g *gatewayFlag, proxied bool) error {
	switch {
	case !given && !g.given():
		return usagef("give the configuration with -f or --kubernetes, or a running gateway with --gateway")
	case given && g.url != "":
		return usagef("give either a configuration with -f or --kubernetes, or a running gateway with --gateway: the one knows no sessions, the other has its own configuration")
	case !given && proxied:
		return usagef("--istio and --envoy-gateway say how files or a cluster's objects are read; a running gateway has read its own")
	case f.port < 1 || f.port > 65535:
		return usagef("--port %d is not in 1 to 65535", f.port)
	}
	return nil
}

// request is the request that the flags describe.
func (f *explainFlags) request(env Env, hasBody bool) (*admin.ExplainRequest, error) {
	req := &admin.ExplainRequest{Method: f.method, Scheme: f.scheme, Host: f.host, Port: uint16(f.port), Path: f.path, SourceIP: f.sourceIP}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, usagef("--header %q has no colon; write it as 'name: value'", h)
		}
		if name = strings.TrimSpace(name); strings.EqualFold(name, "host") {
			req.Host = strings.TrimSpace(value)
			continue
		}
		req.Headers = append(req.Headers, admin.Header{Name: name, Value: strings.TrimSpace(value)})
	}
	if !hasBody {
		return req, nil
	}
	req.Method = cmp.Or(req.Method, "POST")
	body, err := readBody(env, f.body)
	if err != nil {
		return nil, err
	}
	req.SetBody(body)
	return req, nil
}

// readBody is the body that --body names.
func readBody(env Env, arg string) ([]byte, error) {
	name, isFile := strings.CutPrefix(arg, "@")
	if !isFile {
		return []byte(arg), nil
	}
	in := env.Stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--body: %w", err)
		}
		defer file.Close()
		in = file
	}
	body, err := io.ReadAll(io.LimitReader(in, maxExplainBody))
	if err != nil {
		return nil, fmt.Errorf("--body: %w", err)
	}
	return body, nil
}

// printTrace prints a trace for people. Values that come from the request are quoted: they may hold anything.
func printTrace(w io.Writer, t *affinity.Trace, note string) error {
	line := func(what, format string, args ...any) {
		fmt.Fprintf(w, "%-9s %s\n", what, fmt.Sprintf(format, args...))
	}
	for _, f := range t.Fields {
		if f.From == affinity.Nowhere {
			line("field", "%s → header %s: neither in the body nor in a header", f.Field, f.Header)
			continue
		}
		line("field", "%s → header %s: %q, from the %s", f.Field, f.Header, f.Value, f.From)
	}
	if t.Rule != nil {
		line("rule", "%s, %s", strings.TrimSpace(t.Rule.Object+" "+t.Rule.Name), t.Rule.Source)
	}
	for _, s := range t.Split {
		has := ""
		if s.Session {
			has = ", where the user has a live session"
		}
		line("split", "weight %d: %s%s", s.Weight, s.Service, has)
	}
	if t.Service != "" {
		line("service", "%s, %s", t.Service, cmp.Or(t.Source, "-"))
	}
	if t.Key != nil {
		printKey(line, t.Key)
	}
	if t.Service != "" {
		line("session", "%s", t.Session)
	}
	if t.Bound != "" {
		line("bound to", "%s", t.Bound)
	}
	if t.Diverted != nil {
		line("diverted", "%s", diverted(t.Diverted))
	}
	if len(t.Candidates) > 0 {
		if err := printCandidates(w, t.Candidates); err != nil {
			return err
		}
	}
	if t.Problem != nil {
		line("refused", "%d %s: %s", t.Problem.Status, t.Problem.Code, t.Problem.Detail)
		if t.Why != "" {
			line("because", "%s", t.Why)
		}
		return nil
	}
	if t.ByProxy != "" {
		line("choice", "no replica: Envoy answers by itself (%s)", t.ByProxy)
	} else {
		line("choice", "%s", cmp.Or(t.Choice, "any ready replica"))
	}
	line("because", "%s", t.Why)
	if note != "" {
		line("note", "%s", note)
	}
	return nil
}

func printKey(line func(what, format string, args ...any), k *affinity.KeyTrace) {
	source := ""
	if k.Source != "" {
		source = ", " + k.Source
	}
	if k.From == affinity.Nowhere {
		line("key", "nothing says where it is; write key in an AffinityPolicy for the Service or its Gateway, or a DestinationRule with consistentHash")
		return
	}
	if k.Value == "" {
		line("key", "%s: not in the request%s", k.From, source)
		return
	}
	line("key", "%s: %q%s", k.From, k.Value, source)
}

func printCandidates(w io.Writer, candidates []affinity.CandidateTrace) error {
	rows := make([][]string, len(candidates))
	for i, c := range candidates {
		mark, limit := "", "takes no new session"
		if c.Chosen {
			mark = "*"
		}
		if c.Limit > 0 {
			limit = strconv.Itoa(c.Limit)
		}
		rows[i] = []string{mark, c.Addr, cmp.Or(c.Name, "-"), c.State, strconv.Itoa(c.Live), limit}
	}
	return table(w, " ENDPOINT NAME STATE LIVE LIMIT", rows)
}

package redisstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// Forms is what a URL of a store may look like, for messages and help.
const Forms = "redis://[user:password@]host[:port][/database], rediss:// (TLS), redis-sentinel://host[:port],…/master[/database], " +
	"redis-cluster://host[:port],…, unix:///path"

// kind is how the servers of a store belong together.
type kind uint8

const (
	single kind = iota
	sentinel
	cluster
	socket
)

// schemes are the schemes of a URL. Valkey's servers speak the same.
var schemes = map[string]struct {
	kind kind
	tls  bool
}{
	"redis": {single, false}, "rediss": {single, true},
	"valkey": {single, false}, "valkeys": {single, true},
	"redis-sentinel": {sentinel, false}, "rediss-sentinel": {sentinel, true},
	"redis-cluster": {cluster, false}, "rediss-cluster": {cluster, true},
	"unix": {socket, false},
}

// parameters are the query parameters that a URL may have.
var parameters = []string{"ca", "cert", "db", "key", "password-file", "sentinel-password-file", "sentinel-user", "server-name"}

// A location is where a store is, and how to be let in: a URL that has been read.
type location struct {
	kind     kind
	name     string // the URL without user, password and parameters, for messages
	hosts    []string
	user     string
	password string
	master   string // sentinel: the name of the servers that it watches
	database int
	tls      bool
	query    url.Values
}

// CheckURL says what is wrong with a URL, but for the files that it names: Open reads these.
func CheckURL(text string) error {
	_, err := parseURL(text)
	return err
}

// parseURL reads a URL. Its errors have no password in them: they name what is wrong, and quote the host at most.
func parseURL(text string) (*location, error) {
	scheme, rest, found := strings.Cut(text, "://")
	form, known := schemes[scheme]
	if !found {
		return nil, withoutScheme(text)
	}
	if !known {
		if strings.ContainsAny(scheme, "@/:") {
			scheme = "…"
		}
		return nil, fmt.Errorf("the store's URL begins with %q; expected one of: %s", scheme+"://", Forms)
	}
	rest, query, _ := strings.Cut(rest, "?")
	if strings.Contains(query, "@") && !strings.Contains(rest, "@") {
		return nil, errors.New("the store's URL has an @ behind a ?; write a ? in a user or password as %3F, and an @ in a file's name as %40")
	}
	l := &location{kind: form.kind, tls: form.tls}
	authority, path, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(rest, '@'); i > len(authority) {
		return nil, errors.New("the store's URL has a / in its user or password; write it as %2F")
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		if err := l.readUser(authority[:i]); err != nil {
			return nil, err
		}
		authority = authority[i+1:]
	}
	l.name = scheme + "://" + authority
	if path != "" {
		l.name += "/" + path
	}
	for _, read := range []func() error{
		func() error { return l.readQuery(query) },
		func() error { return l.readHosts(authority, path) },
		func() error { return l.readPath(path) },
	} {
		if err := read(); err != nil {
			return nil, fmt.Errorf("the store's URL %s: %w", l.name, err)
		}
	}
	return l, nil
}

// withoutScheme says what is wrong with a URL that has no scheme, and, where the rest of it can be read, what to write instead.
func withoutScheme(text string) error {
	user, shown := "", text
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		user, shown = "USER:PASSWORD@", text[i+1:]
	}
	for _, schemes := range [][]string{{"redis", "rediss"}, {"redis-cluster", "rediss-cluster"}, {"redis-sentinel", "rediss-sentinel"}, {"unix"}} {
		var write []string
		for _, scheme := range schemes {
			if CheckURL(scheme+"://"+shown) == nil {
				write = append(write, scheme+"://"+user+shown)
			}
		}
		if len(write) > 0 {
			return fmt.Errorf("the store's URL %q has no scheme; write %s", shown, strings.Join(write, ", or, where the server speaks TLS, "))
		}
	}
	return fmt.Errorf("the store's URL has no scheme; expected one of: %s", Forms)
}

// readUser reads user:password. The error of url.PathUnescape would quote it.
func (l *location) readUser(text string) error {
	user, password, _ := strings.Cut(text, ":")
	var errs [2]error
	l.user, errs[0] = url.PathUnescape(user)
	l.password, errs[1] = url.PathUnescape(password)
	if errors.Join(errs[:]...) != nil {
		return errors.New("the store's URL has a % in its user or password that two hexadecimal digits do not follow; write it as %25")
	}
	return nil
}

func (l *location) readQuery(text string) (err error) {
	if l.query, err = url.ParseQuery(text); err != nil {
		return errors.New("what follows the ? cannot be read; expected name=value&name=value, with % as %25 and & as %26")
	}
	for name, values := range l.query {
		switch {
		case !slices.Contains(parameters, name):
			return fmt.Errorf("it has the parameter %q; there are: %s", name, strings.Join(parameters, ", "))
		case len(values) != 1 || values[0] == "":
			return fmt.Errorf("the parameter %s has %d values; expected one, and not an empty one", name, len(values))
		case slices.Contains([]string{"ca", "cert", "key", "server-name"}, name) && !l.tls:
			return fmt.Errorf("the parameter %s is for TLS; begin the URL with rediss, or leave it away", name)
		case strings.HasPrefix(name, "sentinel-") && l.kind != sentinel:
			return fmt.Errorf("the parameter %s is for redis-sentinel:// only", name)
		case name == "db" && l.kind != socket:
			return errors.New("the parameter db is for unix:// only; write the database after the last /")
		}
	}
	if l.query.Has("cert") != l.query.Has("key") {
		return errors.New("cert and key belong together, and one is missing")
	}
	if l.query.Has("sentinel-user") && !l.query.Has("sentinel-password-file") {
		return errors.New("sentinel-user needs sentinel-password-file")
	}
	if l.query.Has("password-file") && l.password != "" {
		return errors.New("it has both a password and password-file; leave one away")
	}
	return nil
}

// readHosts reads host:port, and for several servers host:port,host:port …
func (l *location) readHosts(authority, path string) error {
	if l.kind == socket {
		if authority != "" || path == "" {
			return errors.New("expected unix:///path/to/socket, with three slashes")
		}
		l.hosts = []string{"/" + path}
		return nil
	}
	usual := "6379"
	if l.kind == sentinel {
		usual = "26379"
	}
	for text := range strings.SplitSeq(authority, ",") {
		host, port := text, usual
		if h, p, err := net.SplitHostPort(text); err == nil {
			if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
				return fmt.Errorf("the port %q of %q is not a number from 1 to 65535", p, text)
			}
			host, port = h, p
		} else if strings.ContainsAny(strings.Trim(text, "[]"), ":") && !strings.HasPrefix(text, "[") {
			return fmt.Errorf("%q is not host:port; an IPv6 address stands in brackets", text)
		}
		host = strings.Trim(host, "[]")
		if host == "" || strings.ContainsAny(host, " \t[]") {
			return fmt.Errorf("%q is not host:port", text)
		}
		l.hosts = append(l.hosts, net.JoinHostPort(host, port))
	}
	if l.kind == single && len(l.hosts) > 1 {
		return errors.New("it has several hosts; several servers are redis-sentinel:// or redis-cluster://")
	}
	return nil
}

// readPath reads /database, and of a sentinel /master/database.
func (l *location) readPath(path string) error {
	database := path
	switch l.kind {
	case socket:
		database = l.query.Get("db")
	case cluster:
		if path != "" {
			return errors.New("a cluster has no databases; end the URL after the last host")
		}
	case sentinel:
		l.master, database, _ = strings.Cut(path, "/")
		if l.master == "" {
			return errors.New("the name by which the sentinels know the master is missing: redis-sentinel://host:port/NAME")
		}
	}
	if database == "" {
		return nil
	}
	n, err := strconv.ParseUint(database, 10, 31)
	if err != nil {
		return fmt.Errorf("the database %q is not a number", database)
	}
	l.database = int(n)
	return nil
}

// client reads the files that the URL names, and says what the client needs to know. It is called for each connection that is made anew, so
// that files may be replaced.
func (l *location) client() (rueidis.ClientOption, error) {
	o := rueidis.ClientOption{
		InitAddress: l.hosts, Username: l.user, Password: l.password, SelectDB: l.database,
		ForceSingleClient: l.kind == single || l.kind == socket,
	}
	var err error
	if o.TLSConfig, err = l.tlsConfig(); err != nil {
		return o, err
	}
	if path := l.query.Get("password-file"); path != "" {
		if o.Password, err = readSecret("password-file", path); err != nil {
			return o, err
		}
	}
	if l.kind == sentinel {
		o.Sentinel = rueidis.SentinelOption{MasterSet: l.master, TLSConfig: o.TLSConfig, Username: l.query.Get("sentinel-user")}
		if path := l.query.Get("sentinel-password-file"); path != "" {
			if o.Sentinel.Password, err = readSecret("sentinel-password-file", path); err != nil {
				return o, err
			}
		}
	}
	if l.kind == socket {
		o.DialCtxFn = func(ctx context.Context, path string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		}
	}
	return o, nil
}

func (l *location) tlsConfig() (*tls.Config, error) {
	if !l.tls {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: l.query.Get("server-name")}
	if path := l.query.Get("ca"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("the store's ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("the store's ca: there is no certificate in %s; expected PEM", path)
		}
	}
	if l.query.Has("cert") {
		pair, err := tls.LoadX509KeyPair(l.query.Get("cert"), l.query.Get("key"))
		if err != nil {
			return nil, fmt.Errorf("the store's cert and key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// maxSecret is how long a password may be, in bytes.
const maxSecret = 4096

// readSecret reads a password from a file; the end of its line is none of it.
func readSecret(name, path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("the store's %s: %w", name, err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" || len(secret) > maxSecret {
		return "", fmt.Errorf("the store's %s: %s has %d bytes, expected a password of at most %d", name, path, len(text), maxSecret)
	}
	return secret, nil
}

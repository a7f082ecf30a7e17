package redisstore

import (
	"context"
	"crypto/tls"
	_ "embed" // the script
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/redis/rueidis"
)

// ErrRefused is why a gateway cannot use a store until somebody mends it: it is not let in, lacks a right, does not trust the certificate, or asks
// for what the servers do not have.
var ErrRefused = errors.New("the store cannot be used as it is configured")

// ErrOtherKey is why gateways cannot share a store: they were given different hash keys.
var ErrOtherKey = errors.New("the gateways have different hash keys")

// ErrNoKey is why gateways cannot share a store yet: none of them has said its hash key.
var ErrNoKey = errors.New("no gateway has told the store the hash key yet")

// remedies are, by what a server's answer begins with that comes again however often it is asked, what to do about it. The client leaves away the
// ERR of an answer.
var remedies = []struct {
	begins string
	remedy func(s *Store, said string) string
}{
	{"WRONGPASS", func(*Store, string) string { return "the user or the password is another one" }},
	{"NOAUTH", func(*Store, string) string { return "give a password: ?password-file=PATH at the end of the URL" }},
	{"NOPERM", (*Store).rightsRemedy},
	{"The user executing the script", (*Store).rightsRemedy}, // Redis 7.0, of a right that a script lacks
	{"ACL failure in script", (*Store).rightsRemedy},         // Valkey, of the same
	{"DB index is out of range", func(s *Store, _ string) string {
		return fmt.Sprintf("the server has no database %d; write another one %s, or none", s.location.database, s.location.databasePlace())
	}},
	{"SELECT is not allowed in cluster mode", func(s *Store, _ string) string {
		return "the server is one of a cluster, which has no databases; write " + s.location.as("-cluster", "")
	}},
	{"MOVED ", func(s *Store, _ string) string {
		return "the server is one of a cluster; write " + s.location.as("-cluster", "")
	}},
	{"No such master with that name", func(s *Store, _ string) string {
		return fmt.Sprintf("the sentinels know no master %q; write the name that their configuration has behind `sentinel monitor`: %s",
			s.location.master, s.location.as("-sentinel", "/NAME"))
	}},
	{"unknown command 'SENTINEL'", func(s *Store, _ string) string {
		return "the server is no sentinel; write the sentinels' addresses, or, without sentinels, " + s.location.as("", "")
	}},
	{"unknown command 'EVAL'", func(s *Store, _ string) string {
		return "perhaps it is a sentinel; then write " + s.location.as("-sentinel", "/NAME")
	}},
}

// refusal is err, as ErrRefused where it is one.
func (s *Store) refusal(err error) error {
	var untrusted *tls.CertificateVerificationError
	var said *rueidis.RedisError
	switch {
	case errors.As(err, &said):
		for _, r := range remedies {
			if strings.HasPrefix(said.Error(), r.begins) {
				text, _, _ := strings.Cut(strings.TrimSuffix(said.Error(), "."), ", with args beginning with")
				return fmt.Errorf("%w: %s: %s; %s", ErrRefused, s.location.name, text, r.remedy(s, said.Error()))
			}
		}
	case err != nil && strings.Contains(err.Error(), "received unknown message type"):
		return fmt.Errorf("%w: %s: what answers there speaks another protocol than Redis does (%w); see whether host and port are right", ErrRefused, s.location.name, err)
	case errors.As(err, &untrusted):
		return fmt.Errorf("%w: %s: %w; the parameter ca of the URL names the file with the authorities of the servers' certificates, server-name their name",
			ErrRefused, s.location.name, err)
	case isAlert(err) && strings.Contains(err.Error(), "certificate"):
		return fmt.Errorf("%w: %s: %w; the server wants a certificate that it trusts: the parameters cert and key of the URL name its files",
			ErrRefused, s.location.name, err)
	}
	return err
}

// refuse has connections given up where err says that the user lacks a right: it was taken away. Those that are made next find out all that is
// missing, and until then no call is made.
func (s *Store) refuse(l *link, err error) {
	var said *rueidis.RedisError
	if l == nil || !errors.As(err, &said) {
		return
	}
	for _, begins := range []string{"NOPERM", "NOAUTH", "The user executing the script", "ACL failure in script"} {
		if strings.HasPrefix(said.Error(), begins) {
			select {
			case l.refusals <- s.refusal(err):
			default: // it is known
			}
		}
	}
}

// as is the URL of the location's hosts as another kind of servers: "-cluster", "-sentinel", or "" of one.
func (l *location) as(kind, path string) string {
	scheme := "redis"
	if l.tls {
		scheme = "rediss"
	}
	return scheme + kind + "://" + strings.Join(l.hosts, ",") + path
}

// databasePlace is where the URL has the database.
func (l *location) databasePlace() string {
	if l.kind == socket {
		return "in ?db="
	}
	return "behind the last / of the URL"
}

// lacking finds the right in what a server says of one that a user lacks: Redis and Valkey name the command.
var lacking = regexp.MustCompile(`^NOPERM .* the '([a-z|]+)' command`)

// rightsRemedy is what to do where a user lacks a right.
func (s *Store) rightsRemedy(said string) string {
	if right := lacking.FindStringSubmatch(said); right != nil {
		return fmt.Sprintf("give it +%s, by ACL SETUSER", right[1])
	}
	return fmt.Sprintf("the user needs the rights of docs/sharing.md, with the patterns ~%s* and &%s", s.prefix, s.newsChannel)
}

//go:embed scripts/rights.lua
var rightsLua string

// checkRights finds out which rights the user lacks: most of them would be missed only later, and some by nobody.
func (s *Store) checkRights(client rueidis.Client) error {
	missing, err := doWithin(s, client, s.options.Patience, func(ctx context.Context, client rueidis.Client) ([]string, error) {
		return client.Do(ctx, client.B().Eval().Script(rightsLua).Numkeys(1).Key(s.key("rights")).Arg(s.newsChannel).Build()).AsStrSlice()
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s: the user lacks rights; give it %s, by ACL SETUSER", ErrRefused, s.location.name, strings.Join(missing, " "))
}

// denials are what the errors begin with of a server that is the right one, and takes no writes at present: it cannot write its own files, or has
// fewer replicas than min-replicas-to-write says.
var denials = []string{"MISCONF", "NOREPLICAS"}

// deniesWrites reports whether err is such an error. Other connections would not help.
func deniesWrites(err error) bool {
	var said *rueidis.RedisError
	return errors.As(err, &said) && slices.ContainsFunc(denials, func(p string) bool { return strings.HasPrefix(said.Error(), p) })
}

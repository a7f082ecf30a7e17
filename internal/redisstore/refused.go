package redisstore

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/rueidis"
)

// ErrRefused is why a gateway cannot use a store until somebody mends it: it is not let in, or lacks a right, or does not trust the certificate.
var ErrRefused = errors.New("the store cannot be used as it is configured")

// ErrOtherKey is why gateways cannot share a store: they were given different hash keys.
var ErrOtherKey = errors.New("the gateways have different hash keys")

// ErrNoKey is why gateways cannot share a store yet: none of them has said its hash key.
var ErrNoKey = errors.New("no gateway has told the store the hash key yet")

// refusals are what the server's errors begin with that come again however often they are tried. The third one is a password where none is
// needed; the last two are what Redis 7.0 and Valkey say of a right that a script lacks.
var refusals = []string{"WRONGPASS", "NOAUTH", "ERR AUTH", "NOPERM", "The user executing the script", "ACL failure in script"}

// refusal is err, as ErrRefused where it is one.
func (s *Store) refusal(err error) error {
	var untrusted *tls.CertificateVerificationError
	var said *rueidis.RedisError
	switch {
	case errors.As(err, &said) && slices.ContainsFunc(refusals, func(p string) bool { return strings.HasPrefix(said.Error(), p) }):
		return fmt.Errorf("%w: %s: %w", ErrRefused, s.location.name, said)
	case errors.As(err, &untrusted):
		return fmt.Errorf("%w: %s: %w", ErrRefused, s.location.name, err)
	}
	return err
}

// denials are what the errors begin with of a server that is the right one, and takes no writes at present: it cannot write its own files, or has
// fewer replicas than min-replicas-to-write says.
var denials = []string{"MISCONF", "NOREPLICAS"}

// deniesWrites reports whether err is such an error. Other connections would not help.
func deniesWrites(err error) bool {
	var said *rueidis.RedisError
	return errors.As(err, &said) && slices.ContainsFunc(denials, func(p string) bool { return strings.HasPrefix(said.Error(), p) })
}

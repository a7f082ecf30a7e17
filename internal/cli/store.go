package cli

import (
	"cmp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/generate"
	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// storeVariable is the environment variable that stands for --store. Unlike a command line, other users of a machine cannot read it.
const storeVariable = "REMORA_STORE"

// The ranges of the flags about the store. Flush has work to do at each interval; the timeout is what a first sight may wait.
const (
	minStoreInterval, maxStoreInterval = 10 * time.Millisecond, 10 * time.Second
	minStoreTimeout, maxStoreTimeout   = time.Millisecond, time.Second
)

// storeFlags say with which store sessions are shared.
type storeFlags struct {
	sharing app.Sharing
}

// addStore adds the flags to a front door.
func addStore(cmd *cobra.Command) *storeFlags {
	s := &storeFlags{}
	f := cmd.Flags()
	f.StringVar(&s.sharing.URL, "store", "", "URL of a Redis or Valkey in which gateways share their sessions, without a password: redis://host:6379, for example (default: $"+storeVariable+", which may have one; none: sessions are not shared). docs/sharing.md has all forms")
	f.StringVar(&s.sharing.Prefix, "store-prefix", redisstore.DefaultPrefix, "first part of all keys in the store; gateways with the same one share sessions")
	f.DurationVar(&s.sharing.Interval, "store-interval", shared.DefaultInterval, "time for which renewals are collected before they are sent to the store, 10ms to 10s; the same at all gateways")
	f.DurationVar(&s.sharing.Timeout, "store-timeout", redisstore.DefaultTimeout, "time for which the store is waited for, 1ms to 1s; then the gateway decides alone")
	return s
}

// apply checks the flags, and gives the program a store where they ask for one.
func (s *storeFlags) apply(cmd *cobra.Command, o *app.Options, env Env) error {
	sharing := s.sharing
	if hasPassword(sharing.URL) {
		return usagef("--store has a password in it, which others on this machine can see; write it to a file and name that, with ?password-file=PATH at the end of the URL, or give the URL in %s", storeVariable)
	}
	if cmd.Flags().Changed("store") && sharing.URL == "" {
		return usagef("--store is empty; give the URL of a Redis or a Valkey, or leave the flag away")
	}
	if sharing.URL = cmp.Or(sharing.URL, env.Getenv(storeVariable)); sharing.URL == "" {
		for _, name := range []string{"store-prefix", "store-interval", "store-timeout"} {
			if cmd.Flags().Changed(name) {
				return usagef("--%s is about the store, and there is none; add --store URL, or leave it away", name)
			}
		}
		return nil
	}
	if err := redisstore.CheckURL(sharing.URL); err != nil {
		return usagef("--store: %v", err)
	}
	switch {
	case sharing.Interval < minStoreInterval || sharing.Interval > maxStoreInterval:
		return usagef("--store-interval %s is not in %s to %s", sharing.Interval, minStoreInterval, maxStoreInterval)
	case sharing.Timeout < minStoreTimeout || sharing.Timeout > maxStoreTimeout:
		return usagef("--store-timeout %s is not in %s to %s", sharing.Timeout, minStoreTimeout, maxStoreTimeout)
	case sharing.Prefix == "" || len(sharing.Prefix) > 64 || strings.ContainsFunc(sharing.Prefix, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("{}*?[]", r) }):
		return usagef("--store-prefix %q is not 1 to 64 visible characters of ASCII without {}*?[]", sharing.Prefix)
	}
	o.Sharing = &sharing
	return nil
}

// addProcessors adds the flags that say how many processors a Deployment has, and where they share their sessions.
func addProcessors(cmd *cobra.Command, replicas *int, store *generate.Store) {
	f := cmd.Flags()
	f.IntVar(replicas, "replicas", 1, "number of processors, 1 to 100; without --store they do not share their sessions, and more than one is for routing by the body without sessions (default: 1, and 2 with --store)")
	f.StringVar(&store.URL, "store", "", "URL of the Redis or Valkey in which processors share their sessions, without a password: redis://redis.remora-system:6379, for example (default: none)")
	f.StringVar(&store.Secret, "store-secret", "", "with --store: name of a Secret in the processor's namespace, whose entry hash-key is what users' keys are hashed with; all its entries become files in /etc/remora-store, for --store to name (…?password-file=/etc/remora-store/password)")
	f.Lookup("replicas").DefValue = "0" // its usage says which
}

// checkStore checks where processors share their sessions. Where they do, there are two of them unless the flags say otherwise.
func checkStore(cmd *cobra.Command, replicas *int, store generate.Store) error {
	switch {
	case store.URL == "" && cmd.Flags().Changed("store"):
		return usagef("--store is empty; give the URL of a Redis or a Valkey, or leave the flag away")
	case store.URL == "" && store.Secret != "":
		return usagef("--store-secret is about the store, and there is none; add --store URL, or leave it away")
	case store.URL == "":
		return nil
	case hasPassword(store.URL):
		return usagef("--store has a password in it, which all who can read the Deployment would see; put it into the Secret of --store-secret, and add ?password-file=/etc/remora-store/password to the URL")
	}
	if err := redisstore.CheckURL(store.URL); err != nil {
		return usagef("--store: %v", err)
	}
	if wrong := validation.IsDNS1123Subdomain(store.Secret); store.Secret != "" && len(wrong) > 0 {
		return usagef("--store-secret %q is not a name: use lower case letters, digits and '-'", store.Secret)
	}
	if !cmd.Flags().Changed("replicas") {
		*replicas = 2
	}
	return nil
}

// hasPassword reports whether a URL has a password.
func hasPassword(url string) bool {
	_, rest, _ := strings.Cut(url, "://")
	server, _, _ := strings.Cut(rest, "?")
	if !strings.Contains(server, "@") {
		server = rest // a password may have a ? in it that should have been written as %3F
	}
	at := strings.LastIndexByte(server, '@')
	return at >= 0 && strings.Contains(server[:at], ":")
}

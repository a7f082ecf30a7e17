package app

import (
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/remora-proxy/remora/internal/gateway"
)

// Options are what a program is started with: a gateway, a processor for Envoy, or both on one table of sessions.
type Options struct {
	Version string
	Files   []string // files and folders of the configuration; "-" is Stdin
	Stdin   io.Reader
	Cluster *Cluster // where the configuration comes from in place of files
	// ScaleInLease is the name of the Lease under which the pods of the Cluster are written, so that scale-in takes the emptiest;
	// empty: pods are not written.
	ScaleInLease string

	Bind  netip.Addr // listened on by the gateway
	Ports Ports      // where its listening ports differ from the default

	Admin      netip.AddrPort // of the admin API; the zero value: none
	Metrics    netip.AddrPort // of what monitoring asks for, alone; the zero value: none
	AdminNames []string       // what the Host header may say at both besides localhost and IP addresses
	Profiles   bool           // Go's profiles on the admin API

	// Gateway is the limits and timeouts of the gateway; what else it needs is filled in. Without it there is no gateway, and Bind,
	// Ports and AccessLog are not used.
	Gateway *gateway.Config
	// Processor is the processor for Envoy; nil: there is none.
	Processor *Processor

	AccessLog   string // "json", "text", or empty: none
	AccessLogTo io.Writer
	Log         *slog.Logger

	SessionFile  string // empty: sessions do not outlast the process
	SaveInterval time.Duration
	MaxSessions  int
	// EndpointDelay is affinity.Options.EndpointDelay: for both front doors, which have one engine.
	EndpointDelay time.Duration
	HashKeyFile   string // empty: the key of SessionFile, or a new one

	Sharing *Sharing // nil: the sessions are this program's alone

	ShutdownTimeout time.Duration
	// Stop brings the signals that ask to stop; the second one cuts off what is in flight. Reload brings those that ask to load
	// the configuration again: apart from the others, so that they cannot fill their channel.
	Stop, Reload <-chan os.Signal
}

// readHashKey reads the secret that users' keys are hashed with.
func readHashKey(path string) (key [16]byte, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return key, fmt.Errorf("--hash-key-file: %w", err)
	}
	digits := strings.TrimSpace(string(text))
	if len(digits) != 2*len(key) {
		return key, fmt.Errorf("--hash-key-file %s: expected 32 hexadecimal digits, got %d characters; make a key with: openssl rand -hex 16", path, len(digits))
	}
	if _, err := hex.Decode(key[:], []byte(digits)); err != nil {
		return key, fmt.Errorf("--hash-key-file %s: there are characters that are not hexadecimal digits; make a key with: openssl rand -hex 16", path)
	}
	return key, nil
}

// Package certificate keeps what a TLS server shows its clients, and whom of them it believes, in step with files, which are replaced
// while the server runs: in clusters every few weeks or hours. It reads PEM files and makes a tls.Config; it does not listen, and
// does not watch: whoever does says Reload.
package certificate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxFile bounds what is read of one file, in bytes: a bundle with all public authorities has some 200 KiB.
const maxFile = 1 << 20

// ciphers are those of TLS 1.2 that HTTP/2 does not forbid (RFC 9113, appendix A); those of TLS 1.3 are not a matter of choice.
var ciphers = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// Files are PEM files.
type Files struct {
	Cert     string // the server's certificate, and then those between it and the authority
	Key      string // its private key
	ClientCA string // the authorities that clients' certificates must be from; empty: clients need none
}

// List is the paths of the files.
func (f Files) List() []string {
	if f.ClientCA == "" {
		return []string{f.Cert, f.Key}
	}
	return []string{f.Cert, f.Key, f.ClientCA}
}

// Server is what a server shows and believes, as it was read last.
type Server struct {
	files Files
	now   func() time.Time

	reloading sync.Mutex
	current   atomic.Pointer[material]
}

// material is what the files held at one time. It is replaced as a whole, so that a certificate never meets another one's key.
type material struct {
	config *tls.Config
	text   []byte    // of all files
	expiry time.Time // of the chain: the earliest of its certificates
}

// New reads the files. now is the time at which certificates must be valid.
func New(files Files, now func() time.Time) (*Server, error) {
	s := &Server{files: files, now: now}
	m, err := s.read()
	if err != nil {
		return nil, err
	}
	s.current.Store(m)
	return s, nil
}

// Reload reads the files again and reports whether they hold something new, which is for the handshakes from now on. On an error
// everything stays as it was.
func (s *Server) Reload() (changed bool, err error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	m, err := s.read()
	if err != nil {
		return false, err
	}
	if bytes.Equal(m.text, s.current.Load().text) {
		return false, nil
	}
	s.current.Store(m)
	return true, nil
}

// Expiry is when the first certificate of the server's chain expires.
func (s *Server) Expiry() time.Time { return s.current.Load().expiry }

// Config is the server's configuration of TLS: 1.2 or, preferred, 1.3, with HTTP/2. It follows Reload.
func (s *Server) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load().config, nil },
	}
}

func (s *Server) read() (*material, error) {
	cert, err := readFile("the certificate", s.files.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readFile("the private key", s.files.Key)
	if err != nil {
		return nil, err
	}
	m := &material{text: bytes.Join([][]byte{cert, key}, []byte{0})}
	if m.expiry, err = s.checkChain(cert); err != nil {
		return nil, err
	}
	if err := s.checkKey(key); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("the private key %s is not that of the certificate %s (%w); give a pair that was made together", s.files.Key, s.files.Cert, err)
	}
	m.config = &tls.Config{
		MinVersion: tls.VersionTLS12, CipherSuites: ciphers, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{pair},
		// Connections of Envoys last: to resume one saves nothing, and would believe a client by what was believed before.
		SessionTicketsDisabled: true,
	}
	if s.files.ClientCA == "" {
		return m, nil
	}
	ca, err := readFile("the clients' authorities", s.files.ClientCA)
	if err != nil {
		return nil, err
	}
	m.text = bytes.Join([][]byte{m.text, ca}, []byte{0})
	authorities, err := certificates(ca)
	if err != nil {
		return nil, fmt.Errorf("the clients' authorities %s: %w", s.files.ClientCA, err)
	}
	m.config.ClientAuth, m.config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	for _, c := range authorities {
		m.config.ClientCAs.AddCert(c)
	}
	return m, nil
}

// checkChain says when the first certificate expires, and refuses what no client would accept now.
func (s *Server) checkChain(text []byte) (expiry time.Time, err error) {
	chain, err := certificates(text)
	if err != nil {
		return expiry, fmt.Errorf("the certificate %s: %w", s.files.Cert, err)
	}
	now := s.now()
	for i, c := range chain {
		if now.Before(c.NotBefore) {
			return expiry, fmt.Errorf("the certificate %s is valid from %s on; give one that is valid now, and see whether this machine's clock is right",
				s.files.Cert, c.NotBefore.UTC().Format(time.RFC3339))
		}
		if i == 0 || c.NotAfter.Before(expiry) {
			expiry = c.NotAfter
		}
	}
	if now.After(expiry) {
		return expiry, fmt.Errorf("the certificate %s has expired at %s; renew it", s.files.Cert, expiry.UTC().Format(time.RFC3339))
	}
	return expiry, nil
}

// checkKey says what is wrong with a key that cannot be one.
func (s *Server) checkKey(text []byte) error {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return fmt.Errorf("the private key %s is encrypted; give it without a passphrase (openssl pkey -in KEY -out PLAIN), readable by this program only", s.files.Key)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil
		}
	}
	return fmt.Errorf(`the private key %s has no PEM block "PRIVATE KEY"; give the file with the key, not the certificate`, s.files.Key)
}

// certificates reads the certificates of a PEM file, of which there must be one.
func certificates(text []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("its certificate %d cannot be read: %w; make it anew", len(list)+1, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New(`there is no PEM block "CERTIFICATE" in it; give a file that has one`)
	}
	return list, nil
}

// readFile reads a file of no more than maxFile bytes. what is what the file should have.
func readFile(what, path string) ([]byte, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s %s: there is no such file; check the path, and that a link does not lead nowhere", what, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s %s: no permission to read it; make it readable for the user that this program runs as", what, path)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s %s: the file has over %d bytes; give a PEM file", what, path, maxFile)
	}
	return text, nil
}

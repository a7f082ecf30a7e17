package certificate_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/certificate"
	"github.com/remora-proxy/remora/internal/certificate/certtest"
)

// write writes files into a new folder.
func write(t *testing.T, cert, key, ca []byte) certificate.Files {
	t.Helper()
	dir := t.TempDir()
	f := certificate.Files{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), ClientCA: filepath.Join(dir, "ca.crt")}
	for path, text := range map[string][]byte{f.Cert: cert, f.Key: key, f.ClientCA: ca} {
		put(t, path, text)
	}
	return f
}

func put(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// handshake is one between a server and a client that believes ca and shows a certificate, if it has one. It returns the state of
// the connection as the client sees it, and the server's error.
func handshake(t *testing.T, server *tls.Config, ca []byte, shown *certtest.Pair, version uint16) (tls.ConnectionState, error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	config := &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS10, MaxVersion: version}
	if shown != nil {
		pair, err := tls.X509KeyPair(shown.Cert, shown.Key)
		if err != nil {
			t.Fatal(err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil } // whoever is believed
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	result := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			err = tls.Server(conn, server).HandshakeContext(t.Context())
			conn.Close()
		}
		result <- err
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := tls.Client(conn, config)
	_ = client.HandshakeContext(t.Context()) // the server's is what counts
	err = <-result
	return client.ConnectionState(), err
}

func TestWhatIsShownAndBelieved(t *testing.T) {
	ours, theirs := certtest.NewAuthority(t, "ours"), certtest.NewAuthority(t, "theirs")
	until := time.Now().Add(time.Hour)
	pair, client, stranger := ours.Issue(t, until), ours.Issue(t, until), theirs.Issue(t, until)
	expired := ours.Issue(t, time.Now().Add(-time.Minute))
	for _, c := range []struct {
		name    string
		mutual  bool
		shown   *certtest.Pair
		version uint16
		refused string
	}{
		{"no client certificate is asked for", false, nil, tls.VersionTLS13, ""},
		{"TLS 1.2", false, nil, tls.VersionTLS12, ""},
		{"TLS 1.1", false, nil, tls.VersionTLS11, "unsupported versions"},
		{"a client of the authority", true, &client, tls.VersionTLS13, ""},
		{"a client without a certificate", true, nil, tls.VersionTLS13, "client didn't provide a certificate"},
		{"a client of another authority", true, &stranger, tls.VersionTLS13, "unknown authority"},
		{"a client whose certificate has expired", true, &expired, tls.VersionTLS13, "expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := write(t, pair.Cert, pair.Key, ours.Cert)
			if !c.mutual {
				files.ClientCA = ""
			}
			s, err := certificate.New(files, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			state, err := handshake(t, s.Config(), ours.Cert, c.shown, c.version)
			switch {
			case c.refused != "":
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("got %v, want %q", err, c.refused)
				}
			case err != nil:
				t.Error(err)
			case state.NegotiatedProtocol != "h2" || state.Version != c.version:
				t.Errorf("agreed on %q and TLS %x", state.NegotiatedProtocol, state.Version)
			}
		})
	}
}

func TestReload(t *testing.T) {
	a, b := certtest.NewAuthority(t, "a"), certtest.NewAuthority(t, "b")
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	old, next := a.Issue(t, until), b.Issue(t, until.Add(time.Hour))
	files := write(t, old.Cert, old.Key, a.Cert)
	s, err := certificate.New(files, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	config := s.Config() // before the reloads
	shows := func(authority *certtest.Authority, client certtest.Pair) {
		t.Helper()
		if state, err := handshake(t, config, authority.Cert, &client, tls.VersionTLS13); err != nil || !state.HandshakeComplete {
			t.Errorf("the handshake is complete: %v, %v", state.HandshakeComplete, err)
		}
	}
	reload := func(changed bool, wrong string) {
		t.Helper()
		is, err := s.Reload()
		if is != changed || (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("got %v, %v; want %v, %q", is, err, changed, wrong)
		}
	}
	shows(a, old)
	reload(false, "")
	put(t, files.Cert, next.Cert) // the key is not there yet
	reload(false, "is not that of the certificate")
	shows(a, old)
	put(t, files.Key, next.Key)
	reload(true, "")
	shows(b, old) // clients are still of a
	if !s.Expiry().Equal(until.Add(time.Hour)) {
		t.Errorf("it expires at %v", s.Expiry())
	}
	put(t, files.ClientCA, b.Cert)
	reload(true, "")
	if _, err := handshake(t, config, b.Cert, &old, tls.VersionTLS13); err == nil {
		t.Error("a client of an authority that is no longer believed was accepted")
	}
	shows(b, next)
	if err := os.Remove(files.ClientCA); err != nil {
		t.Fatal(err)
	}
	reload(false, "there is no such file")
	shows(b, next)
}

func TestWhatIsWrongWithFilesIsSaid(t *testing.T) {
	a := certtest.NewAuthority(t, "a")
	good, other := a.Issue(t, time.Now().Add(time.Hour)), a.Issue(t, time.Now().Add(time.Hour))
	expired := a.Issue(t, time.Now().Add(-time.Minute))
	text := []byte("text")
	for _, c := range []struct {
		name          string
		cert, key, ca []byte
		says          string
	}{
		{"a certificate without PEM", text, good.Key, a.Cert, `tls.crt: there is no PEM block "CERTIFICATE" in it`},
		{"a key in the certificate's place", good.Key, good.Key, a.Cert, `tls.crt: there is no PEM block "CERTIFICATE" in it`},
		{"a certificate in the key's place", good.Cert, good.Cert, a.Cert, `tls.key has no PEM block "PRIVATE KEY"`},
		{"an encrypted key", good.Cert, bytes.ReplaceAll(good.Key, []byte("PRIVATE"), []byte("ENCRYPTED PRIVATE")), a.Cert, "tls.key is encrypted"},
		{"another certificate's key", good.Cert, other.Key, a.Cert, "tls.key is not that of the certificate"},
		{"an expired certificate", expired.Cert, expired.Key, a.Cert, "tls.crt has expired at"},
		{"an expired certificate in the chain", append(bytes.Clone(good.Cert), expired.Cert...), good.Key, a.Cert, "tls.crt has expired at"},
		{"bytes that are no certificate", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), good.Key, a.Cert, "its certificate 1 cannot be read"},
		{"authorities without PEM", good.Cert, good.Key, text, `ca.crt: there is no PEM block "CERTIFICATE" in it`},
		{"a file that is far too large", bytes.Repeat([]byte("x"), 2<<20), good.Key, a.Cert, "has over 1048576 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := certificate.New(write(t, c.cert, c.key, c.ca), time.Now); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
	t.Run("a certificate of tomorrow", func(t *testing.T) {
		yesterday := func() time.Time { return time.Now().AddDate(0, 0, -2) }
		if _, err := certificate.New(write(t, good.Cert, good.Key, a.Cert), yesterday); err == nil || !strings.Contains(err.Error(), "is valid from") {
			t.Errorf("got %v", err)
		}
	})
}

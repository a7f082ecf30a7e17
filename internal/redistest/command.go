package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Do sends a command by the server's unix socket, on a connection of its own, and gives the answer: its text, or one element a line.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	return s.DoAs(s.options.Password, args...)
}

// DoAs is Do with a password that the server did not have at its start.
func (s *Server) DoAs(password string, args ...string) string {
	s.t.Helper()
	text, err := s.try(password, args...)
	if err != nil {
		s.t.Fatalf("the server at %s: %s: %v", s.Addr, strings.Join(args, " "), err)
	}
	return text
}

// Try is Do that returns an error.
func (s *Server) Try(args ...string) (string, error) { return s.try(s.options.Password, args...) }

func (s *Server) try(password string, args ...string) (string, error) {
	conn, err := net.DialTimeout("unix", s.Socket, patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	var request strings.Builder
	if password != "" {
		encode(&request, "AUTH", password)
	}
	encode(&request, args...)
	if _, err := io.WriteString(conn, request.String()); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	if password != "" {
		if _, err := decode(r); err != nil {
			return "", err
		}
	}
	return decode(r)
}

func encode(b *strings.Builder, args ...string) {
	fmt.Fprintf(b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(b, "$%d\r\n%s\r\n", len(a), a)
	}
}

// decode reads an answer (RESP 2).
func decode(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, rest := line[0], strings.TrimRight(line[1:], "\r\n")
	switch kind {
	case '+', ':':
		return rest, nil
	case '-':
		return "", errors.New(rest)
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n < 0 {
		return "", err
	}
	switch kind {
	case '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(r, text)
		return string(text[:n]), err
	case '*':
		var all []string
		for range n {
			text, err := decode(r)
			if err != nil {
				return "", err
			}
			all = append(all, text)
		}
		return strings.Join(all, "\n"), nil
	}
	return "", fmt.Errorf("an answer of unknown kind: %q", line)
}

// Info is one field of INFO.
func (s *Server) Info(section, field string) string {
	s.t.Helper()
	for line := range strings.Lines(s.Do("INFO", section)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	s.t.Fatalf("the server at %s: INFO %s has no %s", s.Addr, section, field)
	return ""
}

// Memory is how much the server has allocated, in bytes.
func (s *Server) Memory() int {
	s.t.Helper()
	n, err := strconv.Atoi(s.Info("memory", "used_memory"))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

package demo

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// claim is an address that a part of the demo will listen on.
type claim struct {
	addr netip.AddrPort
	who  string
	flag string // which changes it: "--port PORT"
}

// checkPorts says what is in the way of the claims, all of it at once, before anything is started.
func checkPorts(claims []claim) error {
	taken := map[netip.AddrPort]string{}
	var found []string
	var flags []string
	for _, c := range claims {
		if other, ok := taken[c.addr]; ok {
			found = append(found, fmt.Sprintf("%s is for both %s and %s", c.addr, other, c.who))
			flags = appendOnce(flags, c.flag)
			continue
		}
		taken[c.addr] = c.who
		err := tryListen(c.addr)
		switch {
		case err == nil:
			continue
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			found = append(found, fmt.Sprintf("%[1]s, which %s wants, is not an address of this machine (on macOS: sudo ifconfig lo0 alias %[1]s up)", c.addr.Addr(), c.who))
			continue
		case errors.Is(err, syscall.EADDRINUSE):
			found = append(found, fmt.Sprintf("%s is in use by another process, and %s wants it", c.addr, c.who))
		default:
			found = append(found, fmt.Sprintf("%s, which %s wants, cannot be listened on: %v", c.addr, c.who, err))
		}
		flags = appendOnce(flags, c.flag)
	}
	if len(found) == 0 {
		return nil
	}
	text := strings.Join(found, "\n")
	if len(flags) > 0 {
		text += "\nStop what is there, or choose other ports: " + strings.Join(flags, " ") + " (with make: ARGS='…')"
	}
	return errors.New(text)
}

func tryListen(addr netip.AddrPort) error {
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		return err
	}
	return l.Close()
}

func appendOnce(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

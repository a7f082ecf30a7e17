//go:build linux

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/remora-proxy/remora/bench/child"
	"github.com/remora-proxy/remora/bench/peers"
)

// redis is a store that runs.
type redis struct {
	*child.Child
	addr netip.AddrPort
}

func (b *bench) startRedis() (*redis, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return b.startRedisAt(addr)
}

func (b *bench) startRedisAt(addr netip.AddrPort) (*redis, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("%w: install Debian's redis-server", err)
	}
	c, err := child.Start(peers.Command{Program: program, Args: []string{
		"--bind", addr.Addr().String(), "--port", strconv.Itoa(int(addr.Port())), "--save", "", "--appendonly", "no", "--dir", filepath.Clean(b.Dir),
	}}, "redis", b.Dir, -1)
	if err != nil {
		return nil, err
	}
	if err := c.AwaitListening(addr); err != nil {
		c.Stop()
		return nil, err
	}
	return &redis{c, addr}, nil
}

// info is what INFO says in numbers.
func (r *redis) info() (map[string]float64, error) {
	c, err := net.DialTimeout("tcp", r.addr.String(), 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte("INFO everything\r\nQUIT\r\n")); err != nil {
		return nil, err
	}
	numbers := map[string]float64{}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			numbers[name] = n
		}
	}
	if numbers["used_memory"] == 0 {
		return nil, fmt.Errorf("INFO has no used_memory: %v", numbers)
	}
	return numbers, nil
}

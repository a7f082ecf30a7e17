package redistest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// slots is the number of a cluster's hash slots.
const slots = 16384

// replication is the user, and the password, as which a replica comes to its server.
const replication = "replication"

// Replica starts a replica of the server, and waits until it has what the server has.
func (s *Server) Replica() *Server {
	s.t.Helper()
	s.Do("ACL", "SETUSER", replication, "on", ">"+replication, "+psync", "+replconf", "+ping")
	host, port, _ := net.SplitHostPort(s.Addr)
	o := s.options
	o.Args = append([]string{"--replicaof", host + " " + port, "--masteruser", replication, "--masterauth", replication}, o.Args...)
	replica := Start(s.t, o)
	replica.Eventually("the replica follows", func() error {
		return has(replica.Do("INFO", "replication"), "master_link_status:up")
	})
	return replica
}

// Lag lets a replica of the server miss whatever the server does from now on.
func (s *Server) Lag(replica *Server) {
	s.t.Helper()
	s.Do("ACL", "DELUSER", replication) // which ends its connection, and it gets no other
	replica.Eventually("the replica hears nothing", func() error {
		return has(replica.Do("INFO", "replication"), "master_link_status:down")
	})
}

// Promote makes a replica a server of its own, as a failover does.
func (s *Server) Promote() {
	s.t.Helper()
	s.Do("REPLICAOF", "NO", "ONE")
}

// Cluster is a few servers that share the hash slots among them. They have no replicas unless Replica adds one.
type Cluster struct{ Servers []*Server }

// startNode starts a server that may become part of a cluster.
func startNode(t testing.TB, p Program) *Server {
	t.Helper()
	return Start(t, Options{Program: p, Args: []string{
		"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort(t)),
		"--cluster-node-timeout", strconv.FormatInt(patience.Milliseconds(), 10),
	}})
}

// linked is an error until a server has its links to all others: news go by them, or are lost.
func (c *Cluster) linked(s *Server) error {
	nodes := s.Do("CLUSTER", "NODES")
	if strings.Contains(nodes, "disconnected") || strings.Contains(nodes, "handshake") || strings.Count(nodes, " connected") != len(c.Servers) {
		return errors.New(nodes)
	}
	return nil
}

// meet makes a server known to the cluster.
func (c *Cluster) meet(s *Server) {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(c.Servers[0].Addr)
	s.Do("CLUSTER", "MEET", host, port, c.Servers[0].Do("CONFIG", "GET", "cluster-port")[len("cluster-port\n"):])
}

// Replica adds a replica of one of the servers, and waits until all know it.
func (c *Cluster) Replica(of *Server) *Server {
	of.t.Helper()
	replica := startNode(of.t, of.options.Program)
	c.meet(replica)
	id := of.Do("CLUSTER", "MYID")
	replica.Eventually("the replica knows its master", func() error {
		_, err := replica.Try("CLUSTER", "REPLICATE", id)
		return err
	})
	self := replica.Do("CLUSTER", "MYID")
	for _, s := range append([]*Server{replica}, c.Servers...) {
		s.Eventually("the replica is one to all", func() error {
			return errors.Join(has(replica.Do("INFO", "replication"), "master_link_status:up"), has(s.Do("CLUSTER", "REPLICAS", id), self))
		})
	}
	return replica
}

// StartCluster runs a cluster of n servers until the test has ended.
func StartCluster(t testing.TB, p Program, n int) *Cluster {
	t.Helper()
	c := &Cluster{}
	for range n {
		c.Servers = append(c.Servers, startNode(t, p))
	}
	for i, s := range c.Servers {
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		s.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/n), strconv.Itoa((i+1)*slots/n-1))
		if i > 0 {
			c.meet(s)
		}
	}
	for _, s := range c.Servers {
		s.Eventually("the cluster is whole", func() error {
			info := s.Do("CLUSTER", "INFO")
			return errors.Join(has(info, "cluster_state:ok"), has(info, fmt.Sprintf("cluster_known_nodes:%d\r", n)), has(info, "cluster_slots_ok:16384"), c.linked(s))
		})
	}
	return c
}

// URL is the cluster's.
func (c *Cluster) URL() string {
	var addrs []string
	for _, s := range c.Servers {
		addrs = append(addrs, s.Addr)
	}
	return "redis-cluster://" + strings.Join(addrs, ",")
}

// Full says whether the memory of all is used up.
func (c *Cluster) Full(full bool) {
	for _, s := range c.Servers {
		s.t.Helper()
		s.Full(full)
	}
}

// Sentinel is a sentinel that watches a server and its replicas.
type Sentinel struct {
	*Server
	name string
	of   *Server
}

// Sentinel starts a sentinel that watches the server by a name, and waits until it knows of the replica. It alone decides on a failover.
func (s *Server) Sentinel(name string, replica *Server) *Sentinel {
	s.t.Helper()
	sentinel := &Sentinel{Server: prepare(s.t, Options{Program: s.options.Program}), name: name, of: s}
	host, port, _ := net.SplitHostPort(s.Addr)
	sentinel.first = filepath.Join(sentinel.dir, "sentinel.conf")
	config := fmt.Sprintf("sentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %[1]s 60000\n", name, host, port)
	if s.options.Password != "" {
		config += fmt.Sprintf("sentinel auth-pass %s %s\n", name, s.options.Password)
	}
	if err := os.WriteFile(sentinel.first, []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
	sentinel.options.Args = []string{"--sentinel"}
	if !sentinel.run() {
		s.t.Fatalf("another program listens at %s now", sentinel.Addr)
	}
	_, port, _ = net.SplitHostPort(replica.Addr)
	sentinel.Eventually("the sentinel knows the replica", func() error {
		known := sentinel.Do("SENTINEL", "REPLICAS", name)
		return errors.Join(has(known, "port\n"+port+"\n"), has(known, "flags\nslave\n"), has(known, "master-link-status\nok"))
	})
	return sentinel
}

// Failover makes the replica the master, and waits until the sentinel says so.
func (s *Sentinel) Failover() {
	s.t.Helper()
	before := s.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.name)
	s.Eventually("the sentinel begins the failover", func() error {
		_, err := s.Try("SENTINEL", "FAILOVER", s.name)
		return err
	})
	s.Eventually("the sentinel has another master", func() error {
		if now := s.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.name); now == before {
			return fmt.Errorf("the master is %q", now)
		}
		return nil
	})
}

// URL is that of the server that the sentinel says is the master.
func (s *Sentinel) URL() string {
	u := url.URL{Scheme: "redis-sentinel", Host: s.Addr, Path: "/" + s.name}
	if s.of.options.Password != "" {
		u.User = url.UserPassword("", s.of.options.Password)
	}
	return u.String()
}

// MoveSlot moves the slot of a key, with all keys in it, from the server that has it to another one.
func (c *Cluster) MoveSlot(key string) {
	c.Servers[0].t.Helper()
	move := c.BeginMove(key)
	move.Keys(1000)
	move.End()
}

// SlotMove is a slot that moves from one server to another. Until it ends, clients are sent from the former server to the new one for each key that the
// former one does not have.
type SlotMove struct {
	c        *Cluster
	slot     string
	from, to *Server
}

// BeginMove begins to move the slot of a key from the server that has it to another one.
func (c *Cluster) BeginMove(key string) *SlotMove {
	t := c.Servers[0].t
	t.Helper()
	m := &SlotMove{c: c, slot: c.Servers[0].Do("CLUSTER", "KEYSLOT", key)}
	for i, from := range c.Servers {
		if _, err := from.Try("EXISTS", key); err != nil { // MOVED
			continue
		}
		m.from, m.to = from, c.Servers[(i+1)%len(c.Servers)]
		m.to.Do("CLUSTER", "SETSLOT", m.slot, "IMPORTING", m.from.Do("CLUSTER", "MYID"))
		m.from.Do("CLUSTER", "SETSLOT", m.slot, "MIGRATING", m.to.Do("CLUSTER", "MYID"))
		return m
	}
	t.Fatalf("no server has the slot of %s", key)
	return nil
}

// Keys moves so many of the slot's keys, or all if there are no more, and returns those that it moved.
func (m *SlotMove) Keys(most int) []string {
	m.from.t.Helper()
	text := m.from.Do("CLUSTER", "GETKEYSINSLOT", m.slot, strconv.Itoa(most))
	if text == "" {
		return nil
	}
	keys := strings.Split(text, "\n")
	host, port, _ := net.SplitHostPort(m.to.Addr)
	m.from.Do(append([]string{"MIGRATE", host, port, "", "0", "60000", "KEYS"}, keys...)...)
	return keys
}

// End gives the slot to its new server.
func (m *SlotMove) End() {
	m.from.t.Helper()
	id := m.to.Do("CLUSTER", "MYID")
	for _, s := range append([]*Server{m.to, m.from}, m.c.Servers...) {
		s.Do("CLUSTER", "SETSLOT", m.slot, "NODE", id)
	}
}

package redisstore

// Words is words.
var Words = words

// HostsOf are the hosts that a URL names, with their ports.
func HostsOf(url string) ([]string, error) {
	l, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	return l.hosts, nil
}

//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/remora-proxy/remora/bench/peers"
)

// verify checks that a proxy does the work that is to be measured: the body's target names the service, whatever header
// comes with it (with byHeaders: the header does, and says the same), a user comes back to the same replica, and both replicas of a service
// get users.
func verify(ctx context.Context, s peers.Setup, byHeaders bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	for i, service := range s.Services {
		other := s.Services[(i+1)%len(s.Services)].Name
		used := map[string]bool{}
		for user := range 40 {
			body, headers := peers.Body(user, service.Name), map[string]string{"target": other}
			if byHeaders {
				headers = peers.Headers(user, service.Name)
			}
			first, err := whoAnswers(ctx, client, s, body, headers)
			if err != nil {
				return err
			}
			if !strings.HasPrefix(first, service.Name+"/") {
				return fmt.Errorf("the body %s with the headers %v went to %q", body, headers, first)
			}
			again, err := whoAnswers(ctx, client, s, body, headers)
			if err != nil {
				return err
			}
			if first != again {
				return fmt.Errorf("the body %s went to %q and then to %q", body, first, again)
			}
			used[first] = true
		}
		if len(used) != len(service.Replicas) {
			return fmt.Errorf("40 users of %s used only the replicas %v", service.Name, used)
		}
	}
	return nil
}

// whoAnswers sends one request and returns which replica answered.
func whoAnswers(ctx context.Context, client *http.Client, s peers.Setup, body string, headers map[string]string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Listen.String()+peers.Path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the body %s was answered with %s: %s", body, resp.Status, text)
	}
	return resp.Header.Get("X-Backend"), nil
}

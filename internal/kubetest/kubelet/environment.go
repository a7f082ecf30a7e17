package kubelet

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// command is the container's program with its arguments, and its environment. An error has the reason that a container's state gives for
// it. The caller holds pod.mu.
func (c *container) command() (argv, env []string, reason string, err error) {
	program, known := c.pod.kubelet.images[c.spec.Image]
	if !known {
		return nil, nil, "ErrImageNeverPull", fmt.Errorf("no program stands for the image %q; name it in kubelet.Start", c.spec.Image)
	}
	vars, err := c.environment()
	if err == nil {
		err = c.unsupported()
	}
	if err != nil {
		return nil, nil, "CreateContainerConfigError", err
	}
	env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=" + c.pod.key.Name}
	for _, v := range c.spec.Env {
		env = append(env, v.Name+"="+vars[v.Name])
	}
	if len(c.spec.Command) == 0 {
		argv = append(argv, program)
	}
	for _, words := range [][]string{c.spec.Command, c.spec.Args} {
		for _, w := range words {
			argv = append(argv, expand(w, vars))
		}
	}
	return argv, env, "", nil
}

// unsupported says what the container, or its pod, asks for and does not get here.
func (c *container) unsupported() error {
	switch spec := &c.pod.object.Spec; {
	case len(spec.InitContainers) > 0:
		return errors.New("this kubelet runs no init containers")
	case len(c.spec.EnvFrom) > 0:
		return errors.New("this kubelet does not read envFrom")
	case c.spec.Lifecycle != nil && c.spec.Lifecycle.PostStart != nil:
		return errors.New("this kubelet has no postStart")
	}
	for _, probe := range []*corev1.Probe{c.spec.StartupProbe, c.spec.ReadinessProbe, c.spec.LivenessProbe} {
		if probe != nil && probe.HTTPGet == nil {
			return errors.New("this kubelet has httpGet probes only")
		}
	}
	return nil
}

// environment is the variables by name.
func (c *container) environment() (map[string]string, error) {
	vars := map[string]string{}
	for _, v := range c.spec.Env {
		switch {
		case v.ValueFrom == nil:
			vars[v.Name] = expand(v.Value, vars)
		case v.ValueFrom.FieldRef == nil:
			return nil, fmt.Errorf("env %s: this kubelet reads fieldRef only", v.Name)
		default:
			value, err := c.field(v.ValueFrom.FieldRef.FieldPath)
			if err != nil {
				return nil, fmt.Errorf("env %s: %w", v.Name, err)
			}
			vars[v.Name] = value
		}
	}
	return vars, nil
}

// field is a field of the pod, as fieldRef names it.
func (c *container) field(path string) (string, error) {
	object := c.pod.object
	for prefix, values := range map[string]map[string]string{"metadata.labels['": object.Labels, "metadata.annotations['": object.Annotations} {
		if name, is := strings.CutPrefix(path, prefix); is {
			return values[strings.TrimSuffix(name, "']")], nil
		}
	}
	switch path {
	case "metadata.name":
		return object.Name, nil
	case "metadata.namespace":
		return object.Namespace, nil
	case "metadata.uid":
		return string(object.UID), nil
	case "spec.nodeName":
		return object.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return object.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return hostIP, nil
	case "status.podIP", "status.podIPs":
		return c.pod.ip, nil
	}
	return "", fmt.Errorf("fieldRef %s is not known", path)
}

// expand replaces $(NAME) by a variable's value. $$ stands for $, and what is no variable stays as it is:
// https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
func expand(text string, vars map[string]string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		text = after
		if rest, is := strings.CutPrefix(after, "$"); is {
			out.WriteByte('$')
			text = rest
			continue
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")")
		if value, known := vars[name]; known && closed && strings.HasPrefix(after, "(") {
			out.WriteString(value)
			text = rest
			continue
		}
		out.WriteByte('$')
	}
}

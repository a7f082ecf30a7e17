{{- /* The name of all objects. */ -}}
{{- define "remora.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains "remora" $name) -}}{{- $name = printf "%s-remora" $name -}}{{- end -}}
{{- default $name .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- /* What finds the pods: it can never be changed in a Deployment that is there. */ -}}
{{- define "remora.selector" -}}
app.kubernetes.io/name: remora-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "remora.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag }}{{ end }}
{{- end -}}

{{- /* Where the gateway listens for a port of its Service: without a listenPort, where `remora serve` does. */ -}}
{{- define "remora.listens" -}}
{{- $port := int .port -}}
{{- if lt $port 1024 -}}{{- $port = add $port 8000 -}}{{- end -}}
{{- with .listenPort -}}{{- $port = int . -}}{{- end -}}
{{- $port -}}
{{- end -}}

{{- /* Refuses ports that cannot be served together. */ -}}
{{- define "remora.checkPorts" -}}
{{- $ports := dict -}}
{{- $names := dict -}}
{{- $listens := dict -}}
{{- range $i, $p := .Values.service.ports -}}
{{- $where := printf "service.ports[%d]" $i -}}
{{- $port := int $p.port | toString -}}
{{- $listen := include "remora.listens" $p -}}
{{- if has $listen (list "9090" "9901") -}}
{{- fail (printf "%s: the pod would listen on %s, which its metrics (9090) and its admin API (9901) have; give the port a listenPort" $where $listen) -}}
{{- else if eq $p.name "http-metrics" -}}
{{- fail (printf "%s: the name http-metrics is that of the pod's port for metrics; give another" $where) -}}
{{- else if hasKey $names $p.name -}}
{{- fail (printf "%s: the name %s is there twice; give each port a name of its own" $where $p.name) -}}
{{- else if hasKey $ports $port -}}
{{- fail (printf "%s: port %s is there twice; remove one" $where $port) -}}
{{- else if hasKey $listens $listen -}}
{{- fail (printf "%s: the pod would listen on %s for port %s, and does for port %s; give one of them a listenPort" $where $listen $port (get $listens $listen)) -}}
{{- end -}}
{{- $_ := set $names $p.name true -}}
{{- $_ := set $ports $port true -}}
{{- $_ := set $listens $listen $port -}}
{{- end -}}
{{- end -}}

{{- /* An address to listen on, with a port. */ -}}
{{- define "remora.address" -}}
{{- if contains ":" .bind -}}[{{ .bind }}]:{{ .port }}{{- else -}}{{ .bind }}:{{ .port }}{{- end -}}
{{- end -}}

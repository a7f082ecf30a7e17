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

{{- /* Where the gateway listens for a port of its Service: `remora serve` says the same. */ -}}
{{- define "remora.listens" -}}
{{- $port := int .port -}}
{{- if lt $port 1024 -}}{{- $port = add $port 8000 -}}{{- end -}}
{{- $port -}}
{{- end -}}

{{- /* An address to listen on, with a port. */ -}}
{{- define "remora.address" -}}
{{- if contains ":" .bind -}}[{{ .bind }}]:{{ .port }}{{- else -}}{{ .bind }}:{{ .port }}{{- end -}}
{{- end -}}

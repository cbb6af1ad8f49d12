{{/* The configuration file of a service: the `config:` trees and what the chart itself sets, as TOML. */}}

{{- define "holdfast.tomlValue" -}}
{{- if kindIs "string" . -}}
{{- toJson . -}}
{{- else if kindIs "bool" . -}}
{{- . -}}
{{- else if kindIs "float64" . -}}
{{- /* Helm reads every number as a float; the services want whole numbers whole. */ -}}
{{- if eq (floor .) . -}}{{- printf "%d" (int64 .) -}}{{- else -}}{{- . -}}{{- end -}}
{{- else if kindIs "slice" . -}}
[{{- range $index, $item := . -}}{{- if $index }}, {{ end -}}{{- include "holdfast.tomlValue" $item -}}{{- end -}}]
{{- else if kindIs "map" . -}}
{ {{- range $index, $key := keys . | sortAlpha -}}{{- if $index }}, {{ end }} {{ include "holdfast.tomlKey" $key }} = {{ include "holdfast.tomlValue" (get $ $key) }}{{- end }} }
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{- . -}}{{- else -}}{{- toJson . -}}{{- end -}}
{{- end -}}

{{/* (dict "map" m "path" ""): plain values first, then sections; nulls are left out. */}}
{{- define "holdfast.toml" -}}
{{- $map := .map -}}
{{- range $key := keys $map | sortAlpha -}}
{{- $value := get $map $key -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "holdfast.tomlKey" $key }} = {{ include "holdfast.tomlValue" $value }}
{{- end -}}
{{- end -}}
{{- range $key := keys $map | sortAlpha -}}
{{- $value := get $map $key -}}
{{- if kindIs "map" $value }}
{{- $path := include "holdfast.tomlKey" $key -}}
{{- if $.path -}}{{- $path = printf "%s.%s" $.path $path -}}{{- end }}

[{{ $path }}]
{{- include "holdfast.toml" (dict "map" $value "path" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (dict "map" m "path" "config" "problems" dict): refuses whatever looks like a secret. */}}
{{- define "holdfast.findSecrets" -}}
{{- range $key, $value := .map -}}
{{- $path := printf "%s.%s" $.path $key -}}
{{- if kindIs "map" $value -}}
{{- include "holdfast.findSecrets" (dict "map" $value "path" $path "problems" $.problems) -}}
{{- else if and (regexMatch "(?i)^(secret|password|passphrase|seed|token|nkey|nkey_seed)$|_(secret|password|passphrase|seed|token)$" $key) (ne (toString $value) "") -}}
{{- include "holdfast.problem" (dict "problems" $.problems "text" (printf "%s is a secret, and a ConfigMap is no place for one: keep it in a Secret and name that with auth.existingSecret, admin.existingSecret, nats.external.* or extraEnv." $path)) -}}
{{- else if contains "PRIVATE KEY-----" (toString $value) -}}
{{- include "holdfast.problem" (dict "problems" $.problems "text" (printf "%s holds a private key, and a ConfigMap is no place for one: mount it from a Secret with extraVolumes and name the path." $path)) -}}
{{- else if regexMatch "://[^/@ ]*:[^/@ ]*@" (toString $value) -}}
{{- include "holdfast.problem" (dict "problems" $.problems "text" (printf "%s is a URL with a password in it: keep the password in a Secret." $path)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Servers of the bus, as a JSON list. */}}
{{- define "holdfast.busServers" -}}
{{- if .Values.nats.enabled -}}
{{- $scheme := ternary "tls" "nats" (ne .Values.nats.tls.existingSecret "") -}}
{{- $servers := list -}}
{{- $base := include "holdfast.fullname" . -}}
{{- range $index := until (int .Values.nats.replicas) -}}
{{- $servers = append $servers (printf "%s://%s-nats-%d.%s-nats-headless.%s.svc.%s:4222" $scheme $base $index $base $.Release.Namespace $.Values.clusterDomain) -}}
{{- end -}}
{{- toJson $servers -}}
{{- else -}}
{{- toJson .Values.nats.external.urls -}}
{{- end -}}
{{- end -}}

{{/* How a service logs on to the bus: settings that name files, never a secret itself. (dict "root" $ "component" c) */}}
{{- define "holdfast.bus" -}}
{{- $nats := .root.Values.nats -}}
{{- $bus := dict "servers" (include "holdfast.busServers" .root | fromJsonArray) -}}
{{- $tls := $nats.external.tls.existingSecret -}}
{{- $mutual := $nats.external.tls.mutual -}}
{{- if $nats.enabled -}}
{{- $_ := set $bus "user" .component -}}
{{- $_ := set $bus "password_file" "/etc/holdfast/bus/password" -}}
{{- $_ := set $bus "inbox_prefix" (printf "_INBOX.%s" .component) -}}
{{- $tls = $nats.tls.existingSecret -}}
{{- $mutual = false -}}
{{- else if eq $nats.external.auth "creds" -}}
{{- $_ := set $bus "credentials" "/etc/holdfast/bus/nats.creds" -}}
{{- else if eq $nats.external.auth "nkey" -}}
{{- $_ := set $bus "nkey" "/etc/holdfast/bus/seed" -}}
{{- else if eq $nats.external.auth "token" -}}
{{- $_ := set $bus "token_file" "/etc/holdfast/bus/token" -}}
{{- else if eq $nats.external.auth "password" -}}
{{- $_ := set $bus "password_file" "/etc/holdfast/bus/password" -}}
{{- end -}}
{{- if $tls -}}
{{- $files := dict "required" true "authorities" "/etc/holdfast/bus-tls/ca.crt" -}}
{{- if $mutual -}}
{{- $_ := set $files "certificate" "/etc/holdfast/bus-tls/tls.crt" -}}
{{- $_ := set $files "key" "/etc/holdfast/bus-tls/tls.key" -}}
{{- end -}}
{{- $_ := set $bus "tls" $files -}}
{{- end -}}
{{- toJson $bus -}}
{{- end -}}

{{/* What the chart sets itself, as JSON. */}}
{{- define "holdfast.managed" -}}
{{- $values := index .root.Values .component -}}
{{- $managed := dict "bus" (include "holdfast.bus" . | fromJson) "admin" (dict "address" (printf "%s:%d" $values.bindAddress (int $values.ports.admin))) -}}
{{- if .root.Values.admin.existingSecret -}}
{{- $_ := set $managed.admin "token_file" "/etc/holdfast/admin/token" -}}
{{- end -}}
{{- if eq .component "gateway" -}}
{{- $_ := set $managed "listen" (dict "address" (printf "%s:%d" $values.bindAddress (int $values.ports.public))) -}}
{{- if $values.tls.enabled -}}
{{- $_ := set $managed "tls" (dict "certificate" "/etc/holdfast/tls/tls.crt" "key" "/etc/holdfast/tls/tls.key") -}}
{{- else -}}
{{- $_ := set $managed.listen "plaintext" true -}}
{{- end -}}
{{- $jwt := .root.Values.auth.jwt -}}
{{- if eq $jwt.source "secret" -}}
{{- $_ := set $managed "auth" (dict "jwt" (dict "secret_file" "/etc/holdfast/keys/jwt-secret")) -}}
{{- else if eq $jwt.source "pem" -}}
{{- $_ := set $managed "auth" (dict "jwt" (dict "pem" "/etc/holdfast/keys/jwt.pem")) -}}
{{- else if eq $jwt.source "jwks" -}}
{{- $_ := set $managed "auth" (dict "jwt" (dict "jwks" $jwt.jwksUrl)) -}}
{{- end -}}
{{- end -}}
{{- toJson $managed -}}
{{- end -}}

{{/* Milliseconds of a pod's grace period that are left once its hook has slept; an exec hook's time is not known. */}}
{{- define "holdfast.graceMilliseconds" -}}
{{- $sleep := dig "preStop" "sleep" "seconds" 0 .Values.gateway.lifecycle -}}
{{- mul 1000 (sub (int64 .Values.gateway.terminationGracePeriodSeconds) (int64 $sleep)) -}}
{{- end -}}

{{/* The `config:` trees of a component, merged, as JSON. Three servers of the chart's own keep the stream three times; a
drain ends 5 s before Kubernetes would end it. */}}
{{- define "holdfast.userConfig" -}}
{{- $defaults := dict -}}
{{- if and (eq .component "router") .root.Values.nats.enabled (eq (int .root.Values.nats.replicas) 3) -}}
{{- $_ := set $defaults "kept" (dict "replicas" 3) -}}
{{- end -}}
{{- if eq .component "gateway" -}}
{{- $_ := set $defaults "drain" (dict "deadline" (printf "%dms" (sub (include "holdfast.graceMilliseconds" .root | int64) 5000))) -}}
{{- end -}}
{{- mergeOverwrite $defaults (deepCopy .root.Values.config) (deepCopy (index .root.Values .component).config) | toJson -}}
{{- end -}}

{{- define "holdfast.configFile" -}}
{{- $config := mergeOverwrite (include "holdfast.userConfig" . | fromJson) (include "holdfast.managed" . | fromJson) -}}
# Made by the chart from `config` and `{{ .component }}.config`; secrets are mounted beside it.
{{- include "holdfast.toml" (dict "map" $config "path" "") }}
{{ end -}}

{{/* What cannot come by file comes by environment. */}}
{{- define "holdfast.env" -}}
{{- $values := index .root.Values .component -}}
{{- $external := .root.Values.nats.external -}}
{{- $env := list -}}
{{- if and (not .root.Values.nats.enabled) (eq $external.auth "password") -}}
{{- $name := get $external (printf "%sSecret" .component) -}}
{{- $env = append $env (dict "name" "HOLDFAST_BUS__USER" "valueFrom" (dict "secretKeyRef" (dict "name" $name "key" "user"))) -}}
{{- end -}}
{{- with concat $env $values.extraEnv -}}
env: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* The pod's parts that come with the configuration. */}}
{{- define "holdfast.configVolumes" -}}
- name: config
  configMap:
    name: {{ include "holdfast.fullname" .root }}-{{ .component }}
{{- $nats := .root.Values.nats }}
{{- if $nats.enabled }}
- name: bus
  secret:
    secretName: {{ include "holdfast.keysSecret" .root }}
    items:
      - {key: {{ get $nats.passwordKeys .component | quote }}, path: password}
{{- else if ne $nats.external.auth "none" }}
- name: bus
  secret:
    secretName: {{ get $nats.external (printf "%sSecret" .component) }}
{{- end }}
{{- with ternary $nats.tls.existingSecret $nats.external.tls.existingSecret $nats.enabled }}
- name: bus-tls
  secret:
    secretName: {{ . }}
{{- end }}
{{- with .root.Values.admin }}
{{- if .existingSecret }}
- name: admin
  secret:
    secretName: {{ .existingSecret }}
    items:
      - {key: {{ .secretKey | quote }}, path: token}
{{- end }}
{{- end }}
{{- if eq .component "gateway" }}
{{- if .root.Values.gateway.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "holdfast.tlsSecret" .root }}
{{- end }}
{{- $jwt := .root.Values.auth.jwt }}
{{- if has $jwt.source (list "secret" "pem") }}
- name: keys
  secret:
    secretName: {{ include "holdfast.keysSecret" .root }}
    items:
      {{- if eq $jwt.source "secret" }}
      - {key: {{ $jwt.secretKey | quote }}, path: jwt-secret}
      {{- else }}
      - {key: {{ $jwt.pemKey | quote }}, path: jwt.pem}
      {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "holdfast.configMounts" -}}
{{- range include "holdfast.configVolumes" . | fromYamlArray }}
- {name: {{ .name }}, mountPath: /etc/holdfast/{{ .name }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* Names, labels, images. A component is "gateway", "router" or "nats". */}}

{{- define "holdfast.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "holdfast.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "holdfast.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "component" "gateway"): what selects the pods; never the version. */}}
{{- define "holdfast.selector" -}}
app.kubernetes.io/name: {{ include "holdfast.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: holdfast
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* (dict "root" $ "component" c "name" n "labels" (list of maps) "annotations" (list of maps) "namespace" ns): metadata of an object. */}}
{{- define "holdfast.metadata" -}}
{{- $labels := include "holdfast.labels" . | fromYaml -}}
{{- range concat (list .root.Values.commonLabels) (default list .labels) -}}
{{- $labels = mergeOverwrite (dict) . $labels -}}
{{- end -}}
{{- $annotations := deepCopy .root.Values.commonAnnotations -}}
{{- range default list .annotations -}}
{{- $annotations = mergeOverwrite (dict) $annotations . -}}
{{- end -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels: {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* (dict "root" $ "image" map): registry, repository, tag or digest as one reference. */}}
{{- define "holdfast.image" -}}
{{- $image := .image -}}
{{- $registry := default $image.registry .root.Values.global.imageRegistry -}}
{{- $name := $image.repository -}}
{{- if $registry -}}{{- $name = printf "%s/%s" (trimSuffix "/" $registry) $image.repository -}}{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.serviceAccountName" -}}
{{- $account := (index .root.Values .component).serviceAccount -}}
{{- if $account.create -}}
{{- default (printf "%s-%s" (include "holdfast.fullname" .root) .component) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.keysSecret" -}}
{{- default (printf "%s-keys" (include "holdfast.fullname" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{- define "holdfast.tlsSecret" -}}
{{- $gateway := .Values.gateway -}}
{{- $fallback := "" -}}
{{- if $gateway.certificate.enabled -}}
{{- $fallback = default (printf "%s-gateway-tls" (include "holdfast.fullname" .)) $gateway.certificate.secretName -}}
{{- end -}}
{{- default $fallback $gateway.tls.existingSecret -}}
{{- end -}}

{{/* The line that makes the Secret; printed by NOTES and by failures. */}}
{{- define "holdfast.createSecretLine" -}}
kubectl create secret generic {{ include "holdfast.keysSecret" . }} --namespace {{ .Release.Namespace }}
{{- if eq .Values.auth.jwt.source "secret" }} \
    --from-literal={{ .Values.auth.jwt.secretKey }}="$(openssl rand -hex 32)"
{{- else if eq .Values.auth.jwt.source "pem" }} \
    --from-file={{ .Values.auth.jwt.pemKey }}=public-key.pem
{{- end }}
{{- if .Values.nats.enabled }}
{{- range $user, $key := .Values.nats.passwordKeys }}
{{- if or (ne $user "route") (eq (int $.Values.nats.replicas) 3) }} \
    --from-literal={{ $key }}="p$(openssl rand -hex 24)"
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* "5s", "500ms", "1m", "1h" or "1d" in milliseconds. */}}
{{- define "holdfast.milliseconds" -}}
{{- $text := toString . -}}
{{- if not (regexMatch "^[0-9_]+ *(ms|s|m|h|d)$" $text) -}}
{{- fail (printf "holdfast: %q is no duration such as 500ms, 2s, 1m or 1h." $text) -}}
{{- end -}}
{{- $number := regexFind "^[0-9_]+" $text | replace "_" "" | int64 -}}
{{- $unit := regexFind "(ms|s|m|h|d)$" $text -}}
{{- mul $number (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000) $unit) -}}
{{- end -}}

{{/* A size of ours (64KiB, 1MB) or of Kubernetes (2Gi, 500M) in bytes. */}}
{{- define "holdfast.bytes" -}}
{{- $text := toString . -}}
{{- if kindIs "float64" . -}}{{- $text = printf "%d" (int64 .) -}}{{- end -}}
{{- if not (regexMatch "^[0-9_]+ *([kKMGT]i?)?B?$" $text) -}}
{{- fail (printf "holdfast: %q is no size such as 512MiB or 2Gi." $text) -}}
{{- end -}}
{{- $number := regexFind "^[0-9_]+" $text | replace "_" "" | int64 -}}
{{- $unit := regexFind "[kKMGT]i?" $text -}}
{{- mul $number (get (dict "" 1 "k" 1000 "K" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776) $unit) -}}
{{- end -}}

{{/* Pod-level settings that both services share. (dict "root" $ "component" c) */}}
{{- define "holdfast.podOptions" -}}
{{- $values := index .root.Values .component -}}
serviceAccountName: {{ include "holdfast.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- toYaml $values.podSecurityContext | nindent 2 }}
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml . | nindent 4 }}
    {{- if not (hasKey . "labelSelector") }}
    labelSelector:
      matchLabels: {{- include "holdfast.selector" $ | nindent 8 }}
    {{- end }}
  {{- end }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- with $values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $values.hostAliases }}
hostAliases: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with $values.dnsConfig }}
dnsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* (dict "probe" map "path" "/livez"): a probe, by HTTP on the admin port where it names no other way. */}}
{{- define "holdfast.probe" -}}
{{- $probe := deepCopy .probe -}}
{{- if not (or (hasKey $probe "httpGet") (hasKey $probe "exec") (hasKey $probe "tcpSocket") (hasKey $probe "grpc")) -}}
{{- $_ := set $probe "httpGet" (dict "path" .path "port" "admin") -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{/* The one gateway port name that says whether TLS ends there. */}}
{{- define "holdfast.publicPortName" -}}
{{- if .Values.gateway.tls.enabled -}}wss{{- else -}}ws{{- end -}}
{{- end -}}

{{- define "holdfast.publicPort" -}}
{{- default (ternary 443 80 .Values.gateway.tls.enabled) .Values.gateway.service.port -}}
{{- end -}}

{{/* "10Gi" as NATS writes sizes; a tenth is left to the file system. */}}
{{- define "holdfast.natsBytes" -}}
{{- if not (regexMatch "^[0-9]+(Mi|Gi|Ti)$" .) -}}
{{- fail (printf "holdfast: nats.jetstream.size %q must be a whole number of Mi, Gi or Ti." .) -}}
{{- end -}}
{{- $factor := get (dict "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776) (regexFind "(Mi|Gi|Ti)$" .) | int64 -}}
{{- div (mul 9 (regexFind "^[0-9]+" . | int64) $factor) 10 -}}
{{- end -}}

{{/* Password variables of the servers, from the Secret with the keys. */}}
{{- define "holdfast.natsEnv" -}}
{{- range $user, $key := .Values.nats.passwordKeys }}
{{- if or (ne $user "route") (eq (int $.Values.nats.replicas) 3) }}
- name: NATS_{{ upper $user }}_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "holdfast.keysSecret" $ }}, key: {{ $key | quote }}}
{{- end }}
{{- end }}
{{- if eq (int .Values.nats.replicas) 3 }}
{{- $base := printf "%s-nats" (include "holdfast.fullname" .) }}
- name: NATS_ROUTES
  value: "[{{ range $index := until 3 }}{{ if $index }}, {{ end }}nats-route://route:$(NATS_ROUTE_PASSWORD)@{{ $base }}-{{ $index }}.{{ $base }}-headless:6222{{ end }}]"
{{- end }}
{{- end -}}

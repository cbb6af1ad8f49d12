{{/* A pod of `helm test`: (dict "root" $ "name" n "command" list "env" list). The image's own programs, no shell. */}}
{{- define "holdfast.testPod" -}}
{{- $gateway := .root.Values.gateway -}}
apiVersion: v1
kind: Pod
metadata: {{- include "holdfast.metadata" (dict "root" .root "component" "test" "name" (printf "%s-test-%s" (include "holdfast.fullname" .root) .name) "annotations" (list (dict "helm.sh/hook" "test" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded"))) | nindent 2 }}
spec:
  restartPolicy: Never
  activeDeadlineSeconds: 120
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext: {{- toYaml $gateway.podSecurityContext | nindent 4 }}
  {{- with .root.Values.global.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $gateway.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $gateway.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "holdfast.image" (dict "root" .root "image" .root.Values.image) }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: {{- toYaml .command | nindent 8 }}
      {{- with .env }}
      env: {{- toYaml . | nindent 8 }}
      {{- end }}
      resources: {{- toYaml .root.Values.tests.resources | nindent 8 }}
      securityContext: {{- toYaml $gateway.securityContext | nindent 8 }}
{{- end -}}

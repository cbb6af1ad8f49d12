{{/* Rules between values: everything that is wrong is told at once, in sentences. */}}

{{- define "holdfast.problem" -}}
{{- $_ := set .problems "list" (append .problems.list .text) -}}
{{- end -}}

{{- define "holdfast.validate" -}}
{{- $problems := dict "list" list -}}
{{- include "holdfast.validateConfig" (dict "root" . "problems" $problems) -}}
{{- include "holdfast.validateDrain" (dict "root" . "problems" $problems) -}}
{{- include "holdfast.validateLimits" (dict "root" . "problems" $problems) -}}
{{- include "holdfast.validateGateway" (dict "root" . "problems" $problems) -}}
{{- include "holdfast.validateScaling" (dict "root" . "problems" $problems) -}}
{{- include "holdfast.validateNats" (dict "root" . "problems" $problems) -}}
{{- include "holdfast.validateCrds" (dict "root" . "problems" $problems) -}}
{{- include "holdfast.validateSecret" (dict "root" . "problems" $problems) -}}
{{- if $problems.list -}}
{{- fail (printf "\n\nholdfast: these values do not fit together:\n  * %s\n" (join "\n  * " (uniq $problems.list))) -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.validateConfig" -}}
{{- $root := .root -}}
{{- $problems := .problems -}}
{{- include "holdfast.findSecrets" (dict "map" $root.Values.config "path" "config" "problems" $problems) -}}
{{- range $component := list "gateway" "router" -}}
{{- $scope := dict "root" $root "component" $component -}}
{{- include "holdfast.findSecrets" (dict "map" (index $root.Values $component).config "path" (printf "%s.config" $component) "problems" $problems) -}}
{{- $user := include "holdfast.userConfig" $scope | fromJson -}}
{{- range $section, $settings := include "holdfast.managed" $scope | fromJson -}}
{{- $theirs := default dict (get $user $section) -}}
{{- range $key, $_ := $settings -}}
{{- if hasKey $theirs $key -}}
{{- if not (and (kindIs "map" (get $theirs $key)) (eq $section "auth")) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "config.%s.%s is set by the chart for the %s: leave it out and use the chart's own values (%s.ports, %s.bindAddress, gateway.tls, auth.jwt, admin, nats)." $section $key $component $component $component)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $api := dig "admin" "api" "" $user -}}
{{- if and (eq $api "off") $root.Values.admin.existingSecret -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "config.admin.api is off, so the token of admin.existingSecret would open nothing: leave one of them out.") -}}
{{- end -}}
{{- if and (eq $api "on") (not (or $root.Values.admin.existingSecret (dig "admin" "token_file" "" $user) (index $root.Values $component).extraEnv (index $root.Values $component).extraEnvFrom)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "config.admin.api is on without a token, and the %s would refuse to start: name the Secret that has one in admin.existingSecret." $component)) -}}
{{- end -}}
{{- if eq (toString (get $user "profile")) "dev" -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "config.profile dev is for one machine: it refuses any address but loopback, so no Service could reach it.") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A drain has time for its window, and Kubernetes has patience for the drain. */}}
{{- define "holdfast.validateDrain" -}}
{{- $root := .root -}}
{{- $problems := .problems -}}
{{- $drain := get (include "holdfast.userConfig" (dict "root" $root "component" "gateway") | fromJson) "drain" -}}
{{- $planned := add (include "holdfast.milliseconds" (default "5s" $drain.delay) | int64) (include "holdfast.milliseconds" (default "30s" $drain.window) | int64) -}}
{{- $deadline := include "holdfast.milliseconds" $drain.deadline | int64 -}}
{{- $grace := include "holdfast.graceMilliseconds" $root | int64 -}}
{{- $given := or (dig "drain" "deadline" "" $root.Values.config) (dig "drain" "deadline" "" $root.Values.gateway.config) -}}
{{- $hook := ternary " (less the sleep of lifecycle.preStop)" "" (ne $grace (mul 1000 (int64 $root.Values.gateway.terminationGracePeriodSeconds))) -}}
{{- if lt $grace (add $planned 11000) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "gateway.terminationGracePeriodSeconds%s is %d, but drain.delay + drain.window + 11 s is %d s: Kubernetes would kill the gateway in the middle of its drain." $hook (div $grace 1000) (div (add $planned 11999) 1000))) -}}
{{- else if and $given (lt $grace (add $deadline 5000)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "gateway.terminationGracePeriodSeconds%s is %d, but drain.deadline + 5 s is %d s: Kubernetes would kill the gateway before its own deadline. Without drain.deadline the chart sets one that fits." $hook (div $grace 1000) (div (add $deadline 5999) 1000))) -}}
{{- end -}}
{{- if and $given (lt $deadline (add $planned 6000)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "config.drain.deadline is %s, but drain.delay + drain.window + 6 s is %d s: the drain would be cut short before its window is over." $drain.deadline (div (add $planned 6999) 1000))) -}}
{{- end -}}
{{- if and (hasKey $drain "spare_handshakes") (eq (int64 $drain.spare_handshakes) 0) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "config.drain.spare_handshakes is 0: no gateway would offer to take the clients of another, and every drain would wait for its deadline.") -}}
{{- end -}}
{{- end -}}

{{/* Bounds that would never hold, or would hit the wrong ones. */}}
{{- define "holdfast.validateLimits" -}}
{{- $root := .root -}}
{{- $problems := .problems -}}
{{- $gateway := $root.Values.gateway -}}
{{- $config := include "holdfast.userConfig" (dict "root" $root "component" "gateway") | fromJson -}}
{{- $limits := default dict $config.limits -}}
{{- $listen := default dict $config.listen -}}
{{- $upstream := default dict $config.upstream -}}
{{- $memory := dig "limits" "memory" "" $gateway.resources -}}
{{- if and $memory $limits.memory_max (gt (include "holdfast.bytes" $limits.memory_max | int64) (include "holdfast.bytes" $memory | int64)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "config.limits.memory_max is %v, but gateway.resources.limits.memory is %s: the kernel would kill the gateway before it guards itself. Leave memory_max out, and the pod's limit is taken." $limits.memory_max $memory)) -}}
{{- end -}}
{{- if and $memory $upstream.hold_max_bytes (gt (mul 2 (include "holdfast.bytes" $upstream.hold_max_bytes | int64)) (include "holdfast.bytes" $memory | int64)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "config.upstream.hold_max_bytes is %v, more than half of gateway.resources.limits.memory, %s: holding messages would leave no memory for connections." $upstream.hold_max_bytes $memory)) -}}
{{- end -}}
{{- $http := or $gateway.ingress.enabled $gateway.httpRoute.enabled -}}
{{- if and $listen.proxy_protocol $http -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "config.listen.proxy_protocol makes the gateway refuse every connection that does not begin with the head of that protocol, and an Ingress or HTTPRoute sends none: name its proxies in config.listen.trusted_proxies instead.") -}}
{{- end -}}
{{- $perAddress := or (default 0 $limits.connections_per_address) (default 0 $limits.handshakes_per_second_per_address) -}}
{{- if and $perAddress $http (not $listen.trusted_proxies) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "config.limits bounds connections or handshakes per address, but behind an Ingress or HTTPRoute every client has the proxy's address: name the proxies' networks in config.listen.trusted_proxies.") -}}
{{- end -}}
{{- if and $perAddress (eq $gateway.service.type "LoadBalancer") (ne $gateway.service.externalTrafficPolicy "Local") (not (or $listen.proxy_protocol $listen.trusted_proxies)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "config.limits bounds connections or handshakes per address, but without gateway.service.externalTrafficPolicy Local, config.listen.proxy_protocol or config.listen.trusted_proxies the gateway sees the addresses of nodes, not of clients.") -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.validateGateway" -}}
{{- $root := .root -}}
{{- $problems := .problems -}}
{{- $gateway := $root.Values.gateway -}}
{{- if $gateway.tls.enabled -}}
{{- if not (include "holdfast.tlsSecret" $root) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "gateway.tls.enabled needs a certificate: name a Secret of type kubernetes.io/tls in gateway.tls.existingSecret, or set gateway.certificate.enabled.") -}}
{{- end -}}
{{- if $gateway.tls.terminatedInFront -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "gateway.tls.enabled and gateway.tls.terminatedInFront exclude each other: TLS ends either at the gateway or in front of it.") -}}
{{- end -}}
{{- else -}}
{{- if not $gateway.tls.terminatedInFront -}}
{{- if ne $gateway.service.type "ClusterIP" -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "gateway.service.type %s would show a plaintext gateway to the world: set gateway.tls.enabled with a certificate, or, where TLS ends at the balancer, gateway.tls.terminatedInFront." $gateway.service.type)) -}}
{{- end -}}
{{- if and $gateway.ingress.enabled (not $gateway.ingress.tls) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "gateway.ingress has no tls section, so tokens would cross the network in plaintext: add one, or, where TLS ends in front of the ingress, set gateway.tls.terminatedInFront.") -}}
{{- end -}}
{{- if $gateway.httpRoute.enabled -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "gateway.httpRoute needs a listener with TLS on its Gateway, which the chart cannot see: say that it has one with gateway.tls.terminatedInFront.") -}}
{{- end -}}
{{- end -}}
{{- if $gateway.tlsRoute.enabled -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "gateway.tlsRoute passes TLS through, so the gateway must end it: set gateway.tls.enabled.") -}}
{{- end -}}
{{- end -}}
{{- if and $gateway.certificate.enabled (or (not $gateway.certificate.issuerRef.name) (not $gateway.certificate.dnsNames)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "gateway.certificate needs issuerRef.name and at least one of dnsNames.") -}}
{{- end -}}
{{- if and $gateway.ingress.enabled (not $gateway.ingress.hosts) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "gateway.ingress needs at least one entry in hosts.") -}}
{{- end -}}
{{- range $route := list "httpRoute" "tlsRoute" -}}
{{- if and (get $gateway $route).enabled (not (get $gateway $route).parentRefs) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "gateway.%s needs parentRefs: without a Gateway it leads nowhere." $route)) -}}
{{- end -}}
{{- end -}}
{{- if and $gateway.tlsRoute.enabled (not $gateway.tlsRoute.hostnames) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "gateway.tlsRoute needs hostnames: TLS is told apart by name alone.") -}}
{{- end -}}
{{- range $gateway.service.extraPorts -}}
{{- if or (eq (toString .targetPort) "admin") (eq (toString .targetPort) (toString (int $gateway.ports.admin))) (and (not .targetPort) (eq (int .port) (int $gateway.ports.admin))) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "gateway.service.extraPorts shows the admin port to clients: it belongs on the internal Service only.") -}}
{{- end -}}
{{- end -}}
{{- if eq (int $gateway.ports.public) (int $gateway.ports.admin) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "gateway.ports.public and gateway.ports.admin are the same port.") -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.validateScaling" -}}
{{- $root := .root -}}
{{- $problems := .problems -}}
{{- range $component := list "gateway" "router" -}}
{{- $values := index $root.Values $component -}}
{{- if and $values.autoscaling.enabled $values.keda.enabled -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "%s.autoscaling and %s.keda exclude each other: KEDA makes a HorizontalPodAutoscaler of its own." $component $component)) -}}
{{- end -}}
{{- range $scaler := list "autoscaling" "keda" -}}
{{- $scaling := get $values $scaler -}}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "%s.%s.minReplicas is over its maxReplicas." $component $scaler)) -}}
{{- end -}}
{{- end -}}
{{- if and $values.keda.enabled (not $values.keda.prometheusAddress) (not $values.keda.triggers) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "%s.keda needs prometheusAddress or triggers of your own." $component)) -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (not (or $values.autoscaling.targetConnections $values.autoscaling.targetCPUUtilization $values.autoscaling.targetMemoryUtilization $values.autoscaling.metrics)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "%s.autoscaling has nothing to aim at: set a target or metrics." $component)) -}}
{{- end -}}
{{- if and (ne (toString $values.pdb.minAvailable) "") (ne (toString $values.pdb.maxUnavailable) "") (ne (toString $values.pdb.maxUnavailable) "1") -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "%s.pdb takes minAvailable or maxUnavailable, not both." $component)) -}}
{{- end -}}
{{- end -}}
{{- $limit := dig "limits" "connections" 1000000 (include "holdfast.userConfig" (dict "root" $root "component" "gateway") | fromJson) -}}
{{- if and $root.Values.gateway.autoscaling.enabled (ge (int64 $root.Values.gateway.autoscaling.targetConnections) (int64 $limit)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "gateway.autoscaling.targetConnections is %d, but a gateway refuses more than config.limits.connections, %d: it would never scale." (int64 $root.Values.gateway.autoscaling.targetConnections) (int64 $limit))) -}}
{{- end -}}
{{- if and $root.Values.metrics.serviceMonitor.enabled $root.Values.metrics.podMonitor.enabled -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "metrics.serviceMonitor and metrics.podMonitor exclude each other: every sample would be counted twice.") -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.validateNats" -}}
{{- $problems := .problems -}}
{{- $nats := .root.Values.nats -}}
{{- if $nats.enabled -}}
{{- if $nats.external.urls -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "nats.external.urls is set, but nats.enabled is still true: which NATS is meant? For one of your own set nats.enabled=false.") -}}
{{- end -}}
{{- if lt (int $nats.terminationGracePeriodSeconds) (add 10 (int $nats.lameDuck.durationSeconds) | int) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "nats.terminationGracePeriodSeconds is %d, but nats.lameDuck.durationSeconds + 10 s is %d s." (int $nats.terminationGracePeriodSeconds) (add 10 (int $nats.lameDuck.durationSeconds)))) -}}
{{- end -}}
{{- $kept := default dict (get (include "holdfast.userConfig" (dict "root" .root "component" "router") | fromJson) "kept") -}}
{{- $bytes := include "holdfast.bytes" (default "1GiB" $kept.max_bytes) | int64 -}}
{{- if and (ne (toString $kept.enabled) "false") (ne (toString $kept.storage) "memory") (gt $bytes (include "holdfast.natsBytes" $nats.jetstream.size | int64)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "nats.jetstream.size is %s, of which 90 %% are for streams, but kept messages ask for %v (config.kept.max_bytes): NATS would refuse the stream. Enlarge the one or lessen the other." $nats.jetstream.size (default "1GiB" $kept.max_bytes))) -}}
{{- end -}}
{{- if ge (int $nats.lameDuck.gracePeriodSeconds) (int $nats.lameDuck.durationSeconds) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "nats.lameDuck.gracePeriodSeconds must be shorter than durationSeconds: clients move in what is left.") -}}
{{- end -}}
{{- else -}}
{{- if not $nats.external.urls -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "nats.enabled is false, so the services need a NATS to connect to: set nats.external.urls, such as {nats://nats.nats.svc:4222}.") -}}
{{- end -}}
{{- range $url := $nats.external.urls -}}
{{- if regexMatch "://[^/]*@" $url -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "nats.external.urls holds credentials, and they would end up in a ConfigMap: use nats.external.auth with Secrets.") -}}
{{- end -}}
{{- end -}}
{{- if ne $nats.external.auth "none" -}}
{{- range $component := list "gateway" "router" -}}
{{- if not (get $nats.external (printf "%sSecret" $component)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "nats.external.auth %s needs nats.external.%sSecret, the Secret with the %s's credentials." $nats.external.auth $component $component)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $nats.external.tls.mutual (not $nats.external.tls.existingSecret) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "nats.external.tls.mutual needs nats.external.tls.existingSecret with tls.crt and tls.key.") -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Objects of other projects' kinds are made only on request, and then their kind must be there. */}}
{{- define "holdfast.validateCrds" -}}
{{- $root := .root -}}
{{- $problems := .problems -}}
{{- $gateway := $root.Values.gateway -}}
{{- $metrics := $root.Values.metrics -}}
{{- $wanted := list
  (list $gateway.httpRoute.enabled "gateway.httpRoute.enabled" "gateway.networking.k8s.io/v1/HTTPRoute" "the Gateway API")
  (list $gateway.certificate.enabled "gateway.certificate.enabled" "cert-manager.io/v1/Certificate" "cert-manager")
  (list (or $gateway.keda.enabled $root.Values.router.keda.enabled) "keda.enabled" "keda.sh/v1alpha1/ScaledObject" "KEDA")
  (list $metrics.serviceMonitor.enabled "metrics.serviceMonitor.enabled" "monitoring.coreos.com/v1/ServiceMonitor" "the Prometheus Operator")
  (list $metrics.podMonitor.enabled "metrics.podMonitor.enabled" "monitoring.coreos.com/v1/PodMonitor" "the Prometheus Operator")
  (list $metrics.prometheusRule.enabled "metrics.prometheusRule.enabled" "monitoring.coreos.com/v1/PrometheusRule" "the Prometheus Operator") -}}
{{- range $wanted -}}
{{- if and (index . 0) (not ($root.Capabilities.APIVersions.Has (index . 2))) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "%s needs the kind %s, which this cluster does not have: install %s first, or switch it off. (With helm template: --api-versions %s.)" (index . 1) (index . 2) (index . 3) (index . 2))) -}}
{{- end -}}
{{- end -}}
{{- if and $gateway.tlsRoute.enabled (not (include "holdfast.tlsRouteVersion" $root)) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "gateway.tlsRoute.enabled needs the kind gateway.networking.k8s.io/TLSRoute, which this cluster does not have: install the Gateway API with it, or switch it off. (With helm template: --api-versions gateway.networking.k8s.io/v1/TLSRoute.)") -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.tlsRouteVersion" -}}
{{- $group := "gateway.networking.k8s.io" -}}
{{- if .Values.gateway.tlsRoute.apiVersion -}}
{{- printf "%s/%s" $group .Values.gateway.tlsRoute.apiVersion -}}
{{- else if .Capabilities.APIVersions.Has (printf "%s/v1/TLSRoute" $group) -}}
{{- printf "%s/v1" $group -}}
{{- else if .Capabilities.APIVersions.Has (printf "%s/v1alpha3/TLSRoute" $group) -}}
{{- printf "%s/v1alpha3" $group -}}
{{- else if .Capabilities.APIVersions.Has (printf "%s/v1alpha2/TLSRoute" $group) -}}
{{- printf "%s/v1alpha2" $group -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the keys, where a cluster can be asked: its namespace's default account shows that it can. */}}
{{- define "holdfast.validateSecret" -}}
{{- $root := .root -}}
{{- $problems := .problems -}}
{{- $values := $root.Values -}}
{{- $keys := list -}}
{{- if eq $values.auth.jwt.source "secret" -}}{{- $keys = append $keys $values.auth.jwt.secretKey -}}{{- end -}}
{{- if eq $values.auth.jwt.source "pem" -}}{{- $keys = append $keys $values.auth.jwt.pemKey -}}{{- end -}}
{{- if and (eq $values.auth.jwt.source "jwks") (not $values.auth.jwt.jwksUrl) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" "auth.jwt.source jwks needs auth.jwt.jwksUrl.") -}}
{{- end -}}
{{- if $values.nats.enabled -}}
{{- range $user, $key := $values.nats.passwordKeys -}}
{{- if or (ne $user "route") (eq (int $values.nats.replicas) 3) -}}{{- $keys = append $keys $key -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $values.auth.checkSecret $values.admin.existingSecret (lookup "v1" "ServiceAccount" $root.Release.Namespace "default") -}}
{{- $secret := default dict (lookup "v1" "Secret" $root.Release.Namespace $values.admin.existingSecret) -}}
{{- if not (hasKey (default dict $secret.data) $values.admin.secretKey) -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "there is no key %s in a Secret %s in namespace %s, where admin.existingSecret looks for the admin API's token. Make it:\n\n    kubectl create secret generic %s --namespace %s --from-literal=%s=\"$(openssl rand -hex 24)\"\n" $values.admin.secretKey $values.admin.existingSecret $root.Release.Namespace $values.admin.existingSecret $root.Release.Namespace $values.admin.secretKey)) -}}
{{- end -}}
{{- end -}}
{{- if and $values.auth.checkSecret $keys (lookup "v1" "ServiceAccount" $root.Release.Namespace "default") -}}
{{- $name := include "holdfast.keysSecret" $root -}}
{{- $secret := lookup "v1" "Secret" $root.Release.Namespace $name -}}
{{- if not $secret -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "the Secret %s in namespace %s does not exist, so there is no signing key. Make it:\n\n%s\n" $name $root.Release.Namespace (include "holdfast.createSecretLine" $root | indent 4))) -}}
{{- else -}}
{{- $missing := list -}}
{{- range $keys -}}
{{- if not (hasKey (default dict $secret.data) .) -}}{{- $missing = append $missing . -}}{{- end -}}
{{- end -}}
{{- if $missing -}}
{{- include "holdfast.problem" (dict "problems" $problems "text" (printf "the Secret %s in namespace %s has no key %s. A whole one is made so:\n\n%s\n" $name $root.Release.Namespace (join ", " $missing) (include "holdfast.createSecretLine" $root | indent 4))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

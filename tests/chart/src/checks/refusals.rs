//! Values that must be refused, each with the words that tell why.

use anyhow::Result;

use crate::helm::Tools;

/// What is set, and what the refusal must say.
const CASES: &[(&str, &str)] = &[
    ("gateway.replica=3", "'replica' not allowed"),
    ("gateway.tls.foo=1", "'foo' not allowed"),
    ("router.ports.public=1", "'public' not allowed"),
    ("metrics.serviceMonitor.lables=1", "'lables' not allowed"),
    ("nats.replicas=2", "'/nats/replicas'"),
    ("nats.jetstream.size=10GB", "'/nats/jetstream/size'"),
    ("gateway.service.type=ExternalName", "'/gateway/service/type'"),
    ("gateway.terminationGracePeriodSeconds=45", "drain.delay + drain.window + 11 s is 46 s"),
    ("gateway.terminationGracePeriodSeconds=46,gateway.lifecycle.preStop.sleep.seconds=1", "less the sleep"),
    ("config.drain.window=5m", "drain.delay + drain.window + 11 s is 316 s"),
    ("config.drain.deadline=86s", "drain.deadline + 5 s is 91 s"),
    ("config.drain.deadline=40s", "drain.delay + drain.window + 6 s is 41 s"),
    ("gateway.config.drain.spare_handshakes=0", "spare_handshakes is 0"),
    ("config.drain.delay=5", "'/config/drain/delay'"),
    ("config.drain.pause=5s", "'pause' not allowed"),
    ("gateway.config.limits.conections=5", "'conections' not allowed"),
    ("config.listen.forwarded_header=via", "'/config/listen/forwarded_header'"),
    ("config.limits.memory_max=3GiB", "the kernel would kill the gateway"),
    ("config.upstream.hold_max_bytes=1100MiB", "no memory for connections"),
    ("config.listen.proxy_protocol=true,gateway.ingress.enabled=true", "an Ingress or HTTPRoute sends none"),
    ("config.limits.connections_per_address=9,gateway.ingress.enabled=true", "every client has the proxy's address"),
    (
        "gateway.config.limits.handshakes_per_second_per_address=9,gateway.service.type=LoadBalancer",
        "the addresses of nodes",
    ),
    ("gateway.service.type=LoadBalancer", "plaintext gateway to the world"),
    ("gateway.service.type=NodePort", "plaintext gateway to the world"),
    ("gateway.ingress.enabled=true", "no tls section"),
    ("gateway.httpRoute.enabled=true", "needs a listener with TLS"),
    ("gateway.httpRoute.enabled=true", "needs parentRefs"),
    ("gateway.httpRoute.enabled=true", "does not have"),
    ("gateway.tlsRoute.enabled=true", "set gateway.tls.enabled"),
    ("gateway.tls.enabled=true", "needs a certificate"),
    ("gateway.tls.enabled=true,gateway.tls.existingSecret=a,gateway.tls.terminatedInFront=true", "exclude each other"),
    ("gateway.certificate.enabled=true", "needs issuerRef.name"),
    ("gateway.ports.admin=8080", "the same port"),
    ("gateway.service.extraPorts[0].port=1,gateway.service.extraPorts[0].targetPort=admin", "shows the admin port"),
    ("gateway.autoscaling.enabled=true,gateway.keda.enabled=true", "exclude each other"),
    ("router.autoscaling.enabled=true,router.keda.enabled=true", "exclude each other"),
    ("gateway.autoscaling.enabled=true,gateway.autoscaling.maxReplicas=1", "minReplicas is over its maxReplicas"),
    ("gateway.autoscaling.enabled=true,gateway.autoscaling.targetCPUUtilization=0", "nothing to aim at"),
    (
        "gateway.autoscaling.enabled=true,gateway.autoscaling.targetConnections=500,config.limits.connections=500",
        "it would never scale",
    ),
    ("gateway.keda.enabled=true", "needs prometheusAddress"),
    ("gateway.pdb.minAvailable=1,gateway.pdb.maxUnavailable=2", "not both"),
    ("metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true", "counted twice"),
    ("metrics.prometheusRule.enabled=true", "install the Prometheus Operator"),
    ("gateway.certificate.enabled=true", "install cert-manager"),
    ("router.keda.enabled=true", "install KEDA"),
    ("nats.enabled=false", "set nats.external.urls"),
    ("nats.external.urls={nats://a:4222}", "which NATS is meant"),
    ("nats.enabled=false,nats.external.urls={nats://u:p@a:4222}", "holds credentials"),
    (
        "nats.enabled=false,nats.external.urls={nats://a:4222},nats.external.auth=creds",
        "needs nats.external.gatewaySecret",
    ),
    ("nats.enabled=false,nats.external.urls={nats://a:4222},nats.external.tls.mutual=true", "with tls.crt and tls.key"),
    ("nats.terminationGracePeriodSeconds=30", "nats.lameDuck.durationSeconds + 10 s is 40 s"),
    ("nats.jetstream.size=1Gi", "NATS would refuse the stream"),
    ("nats.lameDuck.gracePeriodSeconds=30", "must be shorter than durationSeconds"),
    ("auth.jwt.source=jwks", "needs auth.jwt.jwksUrl"),
    ("config.bus.password=x", "config.bus.password is a secret"),
    ("config.auth.jwt.secret=x", "config.auth.jwt.secret is a secret"),
    ("gateway.config.bus.token=x", "gateway.config.bus.token is a secret"),
    ("config.trace.endpoint=-----BEGIN EC PRIVATE KEY-----", "holds a private key"),
    ("config.trace.endpoint=http://user:password@host", "a URL with a password"),
    ("config.listen.address=a", "config.listen.address is set by the chart"),
    ("config.bus.servers={a}", "config.bus.servers is set by the chart"),
    ("router.config.admin.address=a", "config.admin.address is set by the chart for the router"),
    ("config.admin.token=x", "config.admin.token is a secret"),
    ("admin.existingSecret=a,config.admin.token_file=/t", "config.admin.token_file is set by the chart"),
    ("admin.existingSecret=a,config.admin.api=off", "would open nothing"),
    ("router.config.admin.api=on", "the router would refuse to start"),
    ("config.profile=dev", "for one machine"),
];

/// The cases that were not refused as they should.
///
/// # Errors
/// Helm cannot be run.
pub fn refusals(tools: &Tools) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for (set, words) in CASES {
        match tools.template(&["--set", set], false) {
            Ok(_) => complaints.push(format!("--set {set} was accepted; it should be refused with {words:?}")),
            Err(error) if !format!("{error:#}").contains(words) => {
                complaints.push(format!("--set {set} should be refused with {words:?}; it said: {error:#}"));
            }
            Err(_) => {}
        }
    }
    Ok(complaints)
}

//! Rules for pods: the restricted Pod Security Standard, and what a good neighbour adds.

use serde_json::Value;

use crate::objects::containers;

/// Volumes that the restricted standard allows.
const VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

/// Where the pod falls short of the restricted Pod Security Standard.
pub(super) fn restricted(pod: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut unless = |good: bool, what: String| {
        if !good {
            complaints.push(what);
        }
    };
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        unless(pod[key] != true, format!("{key} is not restricted"));
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kind = volume.as_object().and_then(|volume| volume.keys().find(|key| *key != "name"));
        unless(kind.is_none_or(|kind| VOLUMES.contains(&kind.as_str())), format!("volume {volume} is not restricted"));
    }
    for container in containers(pod) {
        let name = &container["name"];
        let own = &container["securityContext"];
        let either = |key: &str| if own[key].is_null() { &pod["securityContext"][key] } else { &own[key] };
        unless(*either("runAsNonRoot") == true, format!("{name} may run as root"));
        unless(*either("runAsUser") != 0, format!("{name} runs as root"));
        unless(own["allowPrivilegeEscalation"] == false, format!("{name} may escalate"));
        unless(own["privileged"] != true, format!("{name} is privileged"));
        let dropped = own["capabilities"]["drop"].as_array().is_some_and(|drop| drop.iter().any(|what| what == "ALL"));
        unless(dropped && own["capabilities"]["add"].is_null(), format!("{name} keeps capabilities"));
        let profile = either("seccompProfile")["type"].as_str().unwrap_or_default();
        unless(["RuntimeDefault", "Localhost"].contains(&profile), format!("{name} has no seccomp profile"));
        unless(
            container["ports"].as_array().into_iter().flatten().all(|port| port["hostPort"].is_null()),
            format!("{name} has a host port"),
        );
    }
    complaints
}

/// What else each of our pods has: no token, no surprises from Services, a read-only root, requests and limits, an image
/// with a version.
pub(super) fn complete(pod: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    if pod["automountServiceAccountToken"] != false {
        complaints.push("mounts an account token".to_owned());
    }
    if pod["enableServiceLinks"] != false {
        complaints.push("gets variables for every Service".to_owned());
    }
    for container in containers(pod) {
        let name = &container["name"];
        let image = container["image"].as_str().unwrap_or_default();
        if container["securityContext"]["readOnlyRootFilesystem"] != true {
            complaints.push(format!("{name} may write to its root"));
        }
        if !image.contains("@sha256:") && (!image.contains(':') || image.ends_with(":latest")) {
            complaints.push(format!("{name} has an image of no version: {image}"));
        }
        // Containers that an example adds come as they are written.
        let ours = ["gateway", "router", "nats"].iter().any(|ours| name == ours);
        if ours
            && (container["resources"]["requests"].is_null() || container["resources"]["limits"]["memory"].is_null())
        {
            complaints.push(format!("{name} has no requests or no memory limit"));
        }
        if ours && ["livenessProbe", "readinessProbe", "startupProbe"].iter().any(|probe| container[probe].is_null()) {
            complaints.push(format!("{name} lacks a probe"));
        }
        if ours && container["livenessProbe"]["httpGet"]["path"] == "/readyz" {
            complaints.push(format!("{name} is restarted when NATS is away"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({"automountServiceAccountToken": false, "enableServiceLinks": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "a", "image": "a:1", "securityContext": {"allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}}]})
    }

    fn with(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut pod = good();
        change(&mut pod);
        [restricted(&pod), complete(&pod)].concat()
    }

    #[test]
    fn a_restricted_pod_passes() {
        assert_eq!(with(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn each_shortfall_is_told() {
        let container = |change: fn(&mut Value)| with(|pod| change(&mut pod["containers"][0]));

        assert_eq!(with(|pod| pod["hostNetwork"] = json!(true)).len(), 1);
        assert_eq!(with(|pod| pod["volumes"] = json!([{"name": "v", "hostPath": {"path": "/"}}])).len(), 1);
        assert_eq!(with(|pod| pod["securityContext"]["runAsNonRoot"] = json!(false)).len(), 1);
        assert_eq!(with(|pod| pod["securityContext"]["seccompProfile"] = json!(null)).len(), 1);
        assert_eq!(with(|pod| pod["automountServiceAccountToken"] = json!(null)).len(), 1);
        assert_eq!(container(|c| c["securityContext"]["allowPrivilegeEscalation"] = json!(null)).len(), 1);
        assert_eq!(container(|c| c["securityContext"]["capabilities"]["add"] = json!(["NET_ADMIN"])).len(), 1);
        assert_eq!(container(|c| c["securityContext"]["readOnlyRootFilesystem"] = json!(false)).len(), 1);
        assert_eq!(container(|c| c["ports"] = json!([{"hostPort": 80}])).len(), 1);
        assert_eq!(container(|c| c["image"] = json!("a:latest")).len(), 1);
    }
}

//! Rules for Services and what selects pods.

use serde_json::Value;

use crate::objects::{self, containers};

/// What is wrong with Services, budgets and policies among these objects.
pub(super) fn complaints(objects: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for object in objects {
        let title = objects::title(object);
        let selector = match object["kind"].as_str() {
            Some("Service") => &object["spec"]["selector"],
            Some("PodDisruptionBudget") => &object["spec"]["selector"]["matchLabels"],
            Some("NetworkPolicy") => &object["spec"]["podSelector"]["matchLabels"],
            Some("Deployment" | "StatefulSet") => &object["spec"]["selector"]["matchLabels"],
            _ => continue,
        };
        let selected: Vec<&Value> = objects.iter().filter(|workload| is_selected(workload, selector)).collect();
        if selected.len() != 1 {
            complaints.push(format!("{title} selects {} workloads", selected.len()));
        }
        if object["kind"] == "Service" {
            complaints.extend(ports(object, &selected).into_iter().map(|what| format!("{title}: {what}")));
        }
    }
    complaints
}

fn is_selected(workload: &Value, selector: &Value) -> bool {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    let wanted = selector.as_object().into_iter().flatten();
    labels.is_object() && wanted.clone().count() > 0 && wanted.into_iter().all(|(key, value)| labels[key] == *value)
}

/// Named target ports exist, and the admin port stays inside.
fn ports(service: &Value, selected: &[&Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    let pods: Vec<&Value> = selected.iter().filter_map(|workload| objects::pod(workload)).collect();
    let open: Vec<&Value> =
        pods.iter().flat_map(|pod| containers(pod)).flat_map(|c| c["ports"].as_array().into_iter().flatten()).collect();
    let name = service["metadata"]["name"].as_str().unwrap_or_default();
    let inside = name.ends_with("-internal") || name.ends_with("-headless");
    for port in service["spec"]["ports"].as_array().into_iter().flatten() {
        let target = &port["targetPort"];
        let Some(found) = open.iter().find(|open| open["name"] == *target || open["containerPort"] == *target) else {
            complaints.push(format!("no container has port {target}"));
            continue;
        };
        if found["name"] == "admin" && !inside {
            complaints.push("shows the admin port".to_owned());
        }
    }
    if inside && service["spec"]["type"] != "ClusterIP" {
        complaints.push("an internal Service that can be reached from outside".to_owned());
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workload() -> Value {
        json!({"kind": "Deployment", "metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"ports": [{"name": "admin", "containerPort": 9090},
            {"name": "ws", "containerPort": 8080}]}]}}}})
    }

    fn service(name: &str, target: &str) -> Value {
        json!({"kind": "Service", "metadata": {"name": name}, "spec": {"type": "ClusterIP", "selector": {"a": "b"},
            "ports": [{"targetPort": target}]}})
    }

    #[test]
    fn the_admin_port_belongs_on_internal_services_only() {
        assert_eq!(complaints(&[workload(), service("x", "ws"), service("x-internal", "admin")]), Vec::<String>::new());
        assert_eq!(complaints(&[workload(), service("x", "admin")]), ["Service/x: shows the admin port"]);
    }

    #[test]
    fn selectors_must_find_one_workload_and_ports_a_container() {
        assert_eq!(
            complaints(&[service("x", "ws")]).first().map(String::as_str),
            Some("Service/x selects 0 workloads")
        );
        assert_eq!(complaints(&[workload(), service("x", "wss")]), ["Service/x: no container has port \"wss\""]);
    }
}

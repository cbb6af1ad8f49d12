//! What a node does with the chart's pods: their files from ConfigMaps and Secrets, their variables, probes, hooks and the
//! Services in front. Reads rendered objects; changes nothing in them.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use holdfast_harness::{binaries, http, wait};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::container::{Container, Mount, Plan, Root};
use crate::stage::{Place, Stage};
use crate::yaml::{text, texts};

/// The namespace the chart is rendered for.
pub(crate) const NAMESPACE: &str = "edge";

/// All rendered objects, and the Secrets that the operator makes.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) rendered: Vec<Value>,
    /// By name, then key.
    pub(crate) secrets: BTreeMap<String, BTreeMap<String, String>>,
}

/// One pod of a workload, or of a test.
#[derive(Debug)]
pub(crate) struct Pod {
    /// `holdfast-gateway-0`.
    pub(crate) name: String,
    spec: Value,
    labels: Value,
    place: Place,
    running: Option<Container>,
}

impl Objects {
    /// The pods of each Deployment and StatefulSet, each at a place of its own, not started.
    ///
    /// # Errors
    /// The network cannot be made.
    pub(crate) fn pods(&self, stage: &Stage) -> Result<Vec<Pod>> {
        let mut pods = Vec::new();
        for object in &self.rendered {
            let Some(kind @ ("Deployment" | "StatefulSet")) = object["kind"].as_str() else { continue };
            for number in 0..object["spec"]["replicas"].as_u64().unwrap_or(1) {
                let name = format!("{}-{number}", text(&object["metadata"]["name"]));
                let template = &object["spec"]["template"];
                let place = stage.place(&name)?;
                if kind == "StatefulSet" {
                    let service = text(&object["spec"]["serviceName"]);
                    stage.names().add(&format!("{name}.{service}.{NAMESPACE}.svc.cluster.local"), place.address);
                }
                let (spec, labels) = (template["spec"].clone(), template["metadata"]["labels"].clone());
                pods.push(Pod { name, spec, labels, place, running: None });
            }
        }
        Ok(pods)
    }

    /// The pods of `helm test`.
    ///
    /// # Errors
    /// The network cannot be made.
    pub(crate) fn test_pods(&self, stage: &Stage) -> Result<Vec<Pod>> {
        let tests = self.rendered.iter().filter(|object| object["kind"] == "Pod");
        tests
            .map(|object| {
                let name = text(&object["metadata"]["name"]);
                let place = stage.place(&name)?;
                let (spec, labels) = (object["spec"].clone(), object["metadata"]["labels"].clone());
                Ok(Pod { name, spec, labels, place, running: None })
            })
            .collect()
    }

    /// An address for each Service that has one, with what stands behind it: pods that are ready when somebody connects; for as
    /// long as the tasks are held.
    ///
    /// # Errors
    /// A port cannot be listened on.
    pub(crate) async fn services(&self, stage: &Stage, pods: &[Pod]) -> Result<JoinSet<()>> {
        let mut tasks = JoinSet::new();
        for service in self.rendered.iter().filter(|object| object["kind"] == "Service") {
            let name = text(&service["metadata"]["name"]);
            if service["spec"]["clusterIP"] == "None" {
                continue;
            }
            let address = stage.service_address()?;
            stage.names().add(&format!("{name}.{NAMESPACE}.svc.cluster.local"), address);
            let selected: Vec<&Pod> = pods.iter().filter(|pod| pod.is_selected(&service["spec"]["selector"])).collect();
            for port in service["spec"]["ports"].as_array().into_iter().flatten() {
                let number = u16::try_from(port["port"].as_u64().context("a port")?)?;
                let backends =
                    selected.iter().map(|pod| pod.backend(&port["targetPort"])).collect::<Result<Vec<_>>>()?;
                let listener =
                    TcpListener::bind((address, number)).await.with_context(|| format!("{name}:{number}"))?;
                tasks.spawn(balance(listener, backends));
            }
        }
        Ok(tasks)
    }

    fn config_map(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let named = |object: &&Value| object["kind"] == "ConfigMap" && object["metadata"]["name"] == name;
        let object = self.rendered.iter().find(named).with_context(|| format!("no ConfigMap {name}"))?;
        Ok(object["data"].as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect())
    }

    fn secret(&self, name: &str) -> Result<&BTreeMap<String, String>> {
        self.secrets.get(name).with_context(|| format!("no Secret {name}"))
    }
}

/// A pod behind a Service: where it takes connections, and where it says that it is ready.
#[derive(Debug, Clone)]
struct Backend {
    target: SocketAddr,
    ready: Option<(SocketAddr, String)>,
}

/// Passes each connection to the next pod that is ready.
async fn balance(listener: TcpListener, backends: Vec<Backend>) {
    let (mut turn, mut pairs) = (0, JoinSet::new());
    while let Ok((mut client, _)) = listener.accept().await {
        for _ in 0..backends.len() {
            turn += 1;
            let Some(backend) = backends.get(turn % backends.len()) else { continue };
            if is_ready(backend).await
                && let Ok(mut server) = TcpStream::connect(backend.target).await
            {
                pairs.spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
                break;
            }
        }
    }
}

async fn is_ready(backend: &Backend) -> bool {
    let Some((address, path)) = &backend.ready else { return true };
    let request = format!("GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n");
    http::try_exchange(*address, request.as_bytes()).await.is_ok_and(|response| response.status == 200)
}

impl Pod {
    fn container(&self) -> &Value {
        &self.spec["containers"][0]
    }

    fn is_selected(&self, selector: &Value) -> bool {
        selector.as_object().is_some_and(|wanted| wanted.iter().all(|(key, value)| self.labels[key] == *value))
    }

    /// The number of a port, given by name or number.
    fn port(&self, port: &Value) -> Result<u16> {
        let named = self.container()["ports"].as_array().into_iter().flatten().find(|own| own["name"] == *port);
        let number = named.map_or(port, |own| &own["containerPort"]);
        Ok(u16::try_from(number.as_u64().with_context(|| format!("{}: no port {port}", self.name))?)?)
    }

    fn backend(&self, port: &Value) -> Result<Backend> {
        let target = SocketAddr::from((self.place.address, self.port(port)?));
        Ok(Backend { target, ready: self.probe("readinessProbe")? })
    }

    /// Address and path of a probe by HTTP.
    fn probe(&self, kind: &str) -> Result<Option<(SocketAddr, String)>> {
        let get = &self.container()[kind]["httpGet"];
        if get.is_null() {
            return Ok(None);
        }
        Ok(Some((SocketAddr::from((self.place.address, self.port(&get["port"])?)), text(&get["path"]))))
    }

    /// What the node would run.
    ///
    /// # Errors
    /// Something it names is not there.
    pub(crate) fn plan(&self, objects: &Objects, stage: &Stage) -> Result<Plan> {
        let container = self.container();
        let security = |key: &str| {
            let own = &container["securityContext"][key];
            if own.is_null() { &self.spec["securityContext"][key] } else { own }
                .as_u64()
                .and_then(|id| u32::try_from(id).ok())
        };
        let user = security("runAsUser").context("runAsUser")?;
        let group = security("runAsGroup").context("runAsGroup")?;
        let variables = self.variables(objects)?;
        let words = [texts(&container["command"]), texts(&container["args"])].concat();
        let command = words.iter().map(|word| expand(word, &variables)).collect();
        let image = text(&container["image"]);
        let mut mounts = self.mounts(objects, stage)?;
        let root = if image.contains("nats") {
            // Its image has a shell beside the server, which the hook needs.
            mounts.push(Mount::Read(binaries::nats_server(), "/usr/local/bin/nats-server".to_owned()));
            Root::Machine
        } else {
            Root::Folder(stage.image()?)
        };
        Ok(Plan {
            name: self.name.clone(),
            root,
            command,
            variables,
            mounts,
            user: (user, group),
            search: format!("{NAMESPACE}.svc.cluster.local svc.cluster.local cluster.local"),
        })
    }

    fn variables(&self, objects: &Objects) -> Result<Vec<(String, String)>> {
        let mut variables = vec![("SSL_CERT_FILE".to_owned(), "/etc/ssl/certs/ca-certificates.crt".to_owned())];
        for variable in self.container()["env"].as_array().into_iter().flatten() {
            let from = &variable["valueFrom"];
            let value = if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
                anyhow::ensure!(path == "metadata.name", "{path} is not known here");
                self.name.clone()
            } else if from["secretKeyRef"].is_object() {
                let (name, key) = (text(&from["secretKeyRef"]["name"]), text(&from["secretKeyRef"]["key"]));
                objects.secret(&name)?.get(&key).with_context(|| format!("no key {key} in {name}"))?.clone()
            } else {
                expand(&text(&variable["value"]), &variables)
            };
            variables.push((text(&variable["name"]), value));
        }
        Ok(variables)
    }

    fn mounts(&self, objects: &Objects, stage: &Stage) -> Result<Vec<Mount>> {
        let volumes: Vec<&Value> = self.spec["volumes"].as_array().into_iter().flatten().collect();
        let mut mounts = Vec::new();
        for mount in self.container()["volumeMounts"].as_array().into_iter().flatten() {
            let path = text(&mount["mountPath"]);
            let folder = stage.folder().join("volumes").join(&self.name).join(text(&mount["name"]));
            fs::create_dir_all(&folder)?;
            let Some(volume) = volumes.iter().find(|volume| volume["name"] == mount["name"]) else {
                // Of a claim; it outlives its pod.
                mounts.push(Mount::Write(folder, path));
                continue;
            };
            if volume["emptyDir"].is_object() {
                mounts.push(Mount::Memory(path));
                continue;
            }
            let files = if volume["configMap"].is_object() {
                objects.config_map(&text(&volume["configMap"]["name"]))?
            } else {
                projected(objects.secret(&text(&volume["secret"]["secretName"]))?, &volume["secret"]["items"])?
            };
            write_all(&folder, &files)?;
            mounts.push(Mount::Read(folder, path));
        }
        Ok(mounts)
    }

    /// Starts it and waits for its start probe.
    ///
    /// # Errors
    /// It cannot be started.
    ///
    /// # Panics
    /// If it does not come up.
    pub(crate) async fn start(&mut self, objects: &Objects, stage: &Stage) -> Result<()> {
        let plan = self.plan(objects, stage)?;
        self.running = Some(Container::start(stage, &self.place, plan).await?);
        Ok(())
    }

    /// The place of a pod that is started by hand.
    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// Its container.
    ///
    /// # Errors
    /// It was not started.
    pub(crate) fn running(&self) -> Result<&Container> {
        self.running.as_ref().with_context(|| format!("{} is not started", self.name))
    }

    /// Waits until a probe says what is wanted.
    ///
    /// # Errors
    /// It has no such probe, or its container ends.
    ///
    /// # Panics
    /// If it does not within a minute.
    pub(crate) async fn until(&self, kind: &str, status: u16) -> Result<()> {
        let (address, path) = self.probe(kind)?.with_context(|| format!("{} has no {kind}", self.name))?;
        let running = self.running()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n");
        let seen = wait::within(Duration::from_secs(60), &format!("{kind} of {} is {status}", self.name), async || {
            if !running.runs() {
                return Ok(Err(running.said()));
            }
            match http::try_exchange(address, request.as_bytes()).await {
                Ok(response) if response.status == status => Ok(Ok(())),
                Ok(response) => Err(format!("{}: {}", response.status, response.body)),
                Err(error) => Err(format!("{error}")),
            }
        })
        .await;
        seen.map_err(|said| anyhow::anyhow!("{} ended: {said}", self.name))
    }

    /// As a node deletes a pod: its hook, SIGTERM, and how long it takes; over the grace period is a failure.
    ///
    /// # Errors
    /// The hook fails, or it ends with another status than 0 or by force.
    ///
    /// # Panics
    /// If it outlives its grace period.
    pub(crate) async fn delete(&self, hook_may_fail: bool) -> Result<Duration> {
        let begin = tokio::time::Instant::now();
        let grace = self.spec["terminationGracePeriodSeconds"].as_u64().context("a grace period")?;
        let running = self.running()?;
        let hook = texts(&self.container()["lifecycle"]["preStop"]["exec"]["command"]);
        if !hook.is_empty() {
            match running.exec(&hook) {
                Err(error) if !hook_may_fail => return Err(error).context("its preStop hook"),
                _ => {}
            }
        }
        // Its hook may have told it to end, so that it is gone by now; if it is not, the end is waited for in vain.
        drop(running.signal("TERM"));
        let status = running.ended(Duration::from_secs(grace)).await;
        if status.code() != Some(0) && !hook_may_fail {
            bail!("{} ended with {status}: {}", self.name, running.said());
        }
        Ok(begin.elapsed())
    }
}

/// `$(NAME)`, as a node replaces it.
fn expand(word: &str, variables: &[(String, String)]) -> String {
    variables.iter().fold(word.to_owned(), |word, (name, value)| word.replace(&format!("$({name})"), value))
}

/// The keys that a volume takes from a Secret, as file names.
fn projected(secret: &BTreeMap<String, String>, items: &Value) -> Result<BTreeMap<String, String>> {
    let Some(items) = items.as_array() else { return Ok(secret.clone()) };
    items
        .iter()
        .map(|item| {
            let key = text(&item["key"]);
            Ok((text(&item["path"]), secret.get(&key).with_context(|| format!("no key {key}"))?.clone()))
        })
        .collect()
}

fn write_all(folder: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    for (name, text) in files {
        let path: PathBuf = folder.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

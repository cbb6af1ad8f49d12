#!/usr/bin/env bash
# A Kubernetes control plane on loopback without a container engine: etcd, kube-apiserver, controller-manager, scheduler,
# and kwok in the place of nodes. Validation, admission, server-side apply, roll-outs, budgets and Pod Security are real;
# pods are accepted, scheduled and reported ready, and nothing runs.
#
#   cluster.sh build         makes what is missing of the programs, from the Go module proxy (6 minutes on two cores)
#   cluster.sh start FOLDER  starts all; FOLDER/kubeconfig is the way in, FOLDER/*.log what they say
#   cluster.sh stop FOLDER   ends them
#
# Programs are kept in $HOLDFAST_KUBE_DIR/bin (~/.cache/kube/bin), for the next run and the next checkout.
set -eu

cache=${HOLDFAST_KUBE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/kube}
bin=$cache/bin
kubernetes=1.36.3
etcd=3.6.16
kwok=0.8.0
port=${HOLDFAST_KUBE_PORT:-16443}
etcd_port=${HOLDFAST_ETCD_PORT:-12379}

module() { # module NAME: an empty module in $cache/src/NAME, and goes there
    mkdir -p "$cache/src/$1"
    cd "$cache/src/$1"
    printf 'module %s\n\ngo 1.26\n' "$1" > go.mod
    rm -f go.sum
}

build_kubernetes() {
    local programs="kubectl kube-scheduler kube-controller-manager kube-apiserver" program manifest
    for program in $programs; do [ -x "$bin/$program" ] || break; done
    [ -x "$bin/$program" ] && return
    module kube
    go mod edit -require "k8s.io/kubernetes@v$kubernetes"
    manifest=$(go mod download -json "k8s.io/kubernetes@v$kubernetes" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
    # Its parts are named by folders of its own; outside they are published as v0.x.
    for part in $(awk '/=> \.\/staging/{print $1}' "$manifest"); do
        go mod edit -replace "$part=$part@v0.${kubernetes#*.}"
    done
    {
        printf '//go:build tools\n\npackage tools\n\n'
        for program in $programs; do echo "import _ \"k8s.io/kubernetes/cmd/$program\""; done
    } > tools.go
    go mod tidy -e 2> /dev/null
    for program in $programs; do
        echo "building $program $kubernetes"
        go build -o "$bin/" "k8s.io/kubernetes/cmd/$program"
    done
}

build_etcd() {
    [ -x "$bin/etcd" ] && return
    module etcd
    go mod edit -require "go.etcd.io/etcd/server/v3@v$etcd"
    printf '//go:build tools\n\npackage tools\n\nimport _ "go.etcd.io/etcd/server/v3"\n' > tools.go
    go mod tidy -e 2> /dev/null
    echo "building etcd $etcd"
    go build -o "$bin/etcd" go.etcd.io/etcd/server/v3
}

build() {
    mkdir -p "$bin"
    export GOFLAGS=-mod=mod CGO_ENABLED=0
    build_kubernetes
    build_etcd
    [ -x "$bin/kwok" ] || { echo "building kwok $kwok"; cd /; GOBIN=$bin go install "sigs.k8s.io/kwok/cmd/kwok@v$kwok"; }
}

run() { # run NAME COMMAND...: in the background
    local name=$1
    shift
    "$@" > "$name.log" 2>&1 &
    echo $! > "$name.pid"
}

wait_for() { # wait_for COMMAND...: until it succeeds, a minute at most
    local i
    for i in $(seq 1 120); do "$@" > /dev/null 2>&1 && return 0; sleep 0.5; done
    echo "gave up after $((i / 2)) s: $*" >&2
    return 1
}

keys() {
    openssl genrsa -out sa.key 2048 2> /dev/null
    openssl rsa -in sa.key -pubout -out sa.pub 2> /dev/null
    local token
    token=$(openssl rand -hex 16)
    echo "$token,admin,admin,system:masters" > tokens.csv
    cat > kubeconfig << EOF
apiVersion: v1
kind: Config
clusters: [{name: local, cluster: {server: "https://127.0.0.1:$port", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: "$token"}}]
contexts: [{name: local, context: {cluster: local, user: admin}}]
current-context: local
EOF
    chmod 0600 kubeconfig tokens.csv sa.key
}

nodes() { # three, in three zones
    local i
    for i in 1 2 3; do
        "$bin/kubectl" apply -f - > /dev/null << EOF
apiVersion: v1
kind: Node
metadata:
  name: node-$i
  labels: {kubernetes.io/hostname: node-$i, kubernetes.io/os: linux, topology.kubernetes.io/zone: zone-$i}
status:
  allocatable: {cpu: "32", memory: 128Gi, pods: "110"}
  capacity: {cpu: "32", memory: 128Gi, pods: "110"}
EOF
    done
    local stages=() stage folder
    folder=$(go env GOMODCACHE)/sigs.k8s.io/kwok@v$kwok/kustomize/stage
    for stage in node/fast/node-initialize node/heartbeat/node-heartbeat pod/fast/pod-{ready,complete,delete}; do
        stages+=(--config "$folder/$stage.yaml")
    done
    run kwok "$bin/kwok" --kubeconfig kubeconfig --manage-all-nodes=true --node-lease-duration-seconds=40 \
        --server-address 127.0.0.1:0 "${stages[@]}"
}

start() {
    mkdir -p "$1"
    cd "$1"
    umask 077
    keys
    export KUBECONFIG=$PWD/kubeconfig
    run etcd "$bin/etcd" --data-dir "$PWD/etcd" --unsafe-no-fsync --listen-client-urls "http://127.0.0.1:$etcd_port" \
        --advertise-client-urls "http://127.0.0.1:$etcd_port" --listen-peer-urls "http://127.0.0.1:0"
    run apiserver "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" --bind-address 127.0.0.1 \
        --advertise-address 127.0.0.1 --secure-port "$port" --cert-dir "$PWD/certificates" --token-auth-file tokens.csv \
        --authorization-mode RBAC --service-account-issuer https://kubernetes.default.svc \
        --service-account-signing-key-file sa.key --service-account-key-file sa.pub \
        --endpoint-reconciler-type none --service-cluster-ip-range 10.96.0.0/16
    wait_for "$bin/kubectl" get --raw /readyz
    run controllers "$bin/kube-controller-manager" --kubeconfig kubeconfig --leader-elect=false \
        --service-account-private-key-file sa.key --use-service-account-credentials --secure-port 0
    run scheduler "$bin/kube-scheduler" --kubeconfig kubeconfig --leader-elect=false --secure-port 0
    nodes
    wait_for sh -c "[ \$('$bin/kubectl' get nodes | grep -c ' Ready') = 3 ]"
    wait_for "$bin/kubectl" get serviceaccount default
}

stop() {
    local name pid i
    for name in kwok scheduler controllers apiserver etcd; do
        [ -f "$1/$name.pid" ] || continue
        pid=$(cat "$1/$name.pid")
        kill "$pid" 2> /dev/null || continue
        for i in $(seq 1 50); do kill -0 "$pid" 2> /dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2> /dev/null || true
        rm -f "$1/$name.pid"
    done
}

case "${1:-} ${2:-}" in
"build ") build ;;
"start "?*) start "$2" ;;
"stop "?*) stop "$2" ;;
*)
    sed -n '2,11p' "$0"
    exit 2
    ;;
esac

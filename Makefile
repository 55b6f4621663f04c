# One verb, one intent. CI calls these and nothing of its own.
.PHONY: help demo test bench lint fuzz setup

help:
	@echo 'make demo            Star Wars: installs what is missing, builds, plays, cleans up (root)'
	@echo 'make test            every test; the privileged ones are skipped without root'
	@echo 'make bench           micro-benchmarks'
	@echo 'make lint            format, clippy, documentation, dependencies'
	@echo 'make fuzz TARGET=t   one fuzz target, until stopped (needs cargo-fuzz and a nightly)'
	@echo 'make setup           installs the Debian packages that are missing'

setup:
	@scripts/setup.sh

# MANIFESTS=dir plays other manifests of the same objects, WORKERS=n sets the daemon's workers.
demo: setup
	@test "$$(id -u)" -eq 0 || { echo 'make demo: needs root for network namespaces and AF_XDP: sudo make demo' >&2; exit 1; }
	@cargo build --release --quiet -p dataplane -p tests --bins
	@"$${CARGO_TARGET_DIR:-target}/release/demo" $(if $(WORKERS),--workers $(WORKERS)) $(MANIFESTS)

test: setup
	@scripts/test.sh

bench: setup
	cargo bench --workspace

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet
	@if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; \
	else echo 'lint: cargo-deny is not installed, dependencies not checked (cargo install --locked cargo-deny)'; fi

fuzz:
	@test -n '$(TARGET)' || { echo 'make fuzz TARGET=…; there are:' >&2; ls fuzz/fuzz_targets >&2; exit 1; }
	cargo +nightly fuzz run $(TARGET)

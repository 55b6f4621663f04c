# One verb, one intent. CI calls these and nothing of its own.
.PHONY: help demo test bench lint fuzz asan setup

help:
	@echo 'make demo            Star Wars: installs what is missing, builds, plays, cleans up (root)'
	@echo 'make test            every test; the privileged ones are skipped without root'
	@echo 'make bench           side by side with the peers, and in memory; writes docs/benchmarks.md (root; BENCH=quick: 5 minutes)'
	@echo 'make lint            format, clippy, documentation, dependencies'
	@echo 'make fuzz TARGET=t   one fuzz target, until stopped (needs cargo-fuzz and a nightly)'
	@echo 'make asan            the dataplane under AddressSanitizer, on plain memory (needs a nightly)'
	@echo 'make setup           installs the Debian packages that are missing'

setup:
	@scripts/setup.sh

# MANIFESTS=dir plays other manifests of the same objects, WORKERS=n sets the daemon's workers.
demo: setup
	@test "$$(id -u)" -eq 0 || { echo 'make demo: needs root for network namespaces and AF_XDP: sudo make demo' >&2; exit 1; }
	@cargo build --release --quiet -p dataplane -p tests --bin blastdoor --bin deathstar --bin demo
	@"$${CARGO_TARGET_DIR:-target}/release/demo" $(if $(WORKERS),--workers $(WORKERS)) $(MANIFESTS)

test: setup
	@scripts/test.sh

# Installs the peers, runs criterion and the interleaved rounds. BENCH=quick is shorter and says so in its report.
BENCH ?= full
ifeq ($(BENCH),quick)
micro = --warm-up-time 0.1 --measurement-time 0.3 --sample-size 10
rounds = --rounds 3 --seconds 1
else
micro = --warm-up-time 0.5 --measurement-time 1.5 --sample-size 20
rounds = --rounds 5 --seconds 1
endif
bench:
	@test "$$(id -u)" -eq 0 || { echo 'make bench: needs root for network namespaces and AF_XDP: sudo make bench' >&2; exit 1; }
	@scripts/setup.sh bench
	cargo build --release --quiet -p dataplane -p tests -p pktgen -p benches --bins
	CRITERION_HOME="$$(realpath "$${CARGO_TARGET_DIR:-target}")/criterion" cargo bench --quiet -p benches --benches -- $(micro)
	"$${CARGO_TARGET_DIR:-target}/release/compare" $(rounds)

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet
	@if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; \
	else echo 'lint: cargo-deny is not installed, dependencies not checked (cargo install --locked cargo-deny)'; fi

fuzz:
	@test -n '$(TARGET)' || { echo 'make fuzz TARGET=…; there are:' >&2; ls fuzz/fuzz_targets >&2; exit 1; }
	cargo +nightly fuzz run $(TARGET)

# Rust code only: libxdp is built as always. The whole worker runs over plain memory, so no root is needed.
# The memory of frames lives as long as the process by design, so leaks are not looked for.
asan:
	ASAN_OPTIONS=detect_leaks=0 RUSTFLAGS=-Zsanitizer=address cargo +nightly test -p dataplane --lib --test inspect --test pipeline \
	    --target x86_64-unknown-linux-gnu --target-dir target/asan

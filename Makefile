# What CI runs is `make check`; what a user needs is `make build` and `make install`.

CARGO ?= cargo
PREFIX ?= /usr/local
FUZZ_SECS ?= 60
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
MUSL := $(subst -gnu,-musl,$(HOST))

.PHONY: build check test bench soak fuzz autobahn static cross size install clean

build:
	$(CARGO) build --release

# Format, lints, tests, also of the optional feature, documentation.
check:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(MAKE) test
	$(CARGO) test --features hashed-credentials --lib --test access
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

test:
	$(CARGO) test

# The tables of the README: `make bench ROUNDS=5`, `make bench BENCH=echo`.
bench:
	$(CARGO) bench --bench loopback -- $(BENCH)
	$(CARGO) bench --bench codec

# Hours of use in minutes, every byte accounted for: `make soak SOAK="--pairs 64 --bytes 128MiB"`.
soak:
	$(CARGO) bench --bench soak -- $(SOAK)

# Each target for FUZZ_SECS. Needs cargo-fuzz: `cargo install cargo-fuzz`.
fuzz:
	FUZZ_SECS=$(FUZZ_SECS) ./fuzz/run

# The Autobahn Testsuite against examples/echo, wherever the suite is.
autobahn:
	$(CARGO) build --release --example echo
	./tests/autobahn target/release/examples/echo

# Linked with musl where that target is installed, else with a static glibc. At a fixed address:
# position-independent code costs 80 kB of memory in relocations.
static:
	@if [ -d "$$(rustc --print sysroot)/lib/rustlib/$(MUSL)" ]; then target=$(MUSL); else target=$(HOST); fi; \
	RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" $(CARGO) build --release --target $$target && \
	ls -l target/$$target/release/ws-tcp-proxy

# make cross TARGET=armv7-unknown-linux-musleabihf; the target and a linker must be installed.
cross:
	$(CARGO) build --release --target $(TARGET)

size: build
	@ls -l target/release/ws-tcp-proxy
	$(CARGO) tree -e normal

install: build
	install -D -m 755 target/release/ws-tcp-proxy $(DESTDIR)$(PREFIX)/bin/ws-tcp-proxy

clean:
	$(CARGO) clean
	rm -rf fuzz/target fuzz/artifacts autobahn-report

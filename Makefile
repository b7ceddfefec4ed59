# SPDX-License-Identifier: GPL-3.0-or-later
# The front door. `make demo` shows everything, `make test` proves it.

DESTDIR =
PREFIX = /usr
# As in --locked, for every build.
CARGO_FLAGS =
MUSL = x86_64-unknown-linux-musl
ARM64 = aarch64-unknown-linux-musl
# Without Rust's musl (Debian's own rustc): AGENT_TARGET=x86_64-unknown-linux-gnu, linked statically all the same.
AGENT_TARGET = $(MUSL)
AGENT = target/$(AGENT_TARGET)/agent/boottorrent-agent
# Somebody who has one already says where it is.
SERVER = $(or $(BOOTTORRENT_SERVER),target/release/boottorrent)
MANUAL = target/manual
SHARE = $(DESTDIR)$(PREFIX)/share
INITRAMFS = $(SHARE)/initramfs-tools
DRACUT = $(DESTDIR)$(PREFIX)/lib/dracut/modules.d/95boottorrent
UNITS = $(DESTDIR)$(PREFIX)/lib

# N machines in the demo; KEEP=1 leaves them running.
N = 3
KEEP =

all: build

build: agent manual

BUILD_AGENT = $(if $(findstring gnu,$(AGENT_TARGET)),RUSTFLAGS="$$RUSTFLAGS -C target-feature=+crt-static") \
	cargo build $(CARGO_FLAGS) --profile agent --target $(AGENT_TARGET) -p boottorrent-agent

# Its C code is compiled with plain gcc: musl-gcc is not needed. With musl `+crt-static` is the default.
agent: export CC_x86_64_unknown_linux_musl = gcc
agent: export CC_aarch64_unknown_linux_musl = aarch64-linux-gnu-gcc
agent: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER = aarch64-linux-gnu-gcc
agent:
	$(BUILD_AGENT)
	$(BUILD_AGENT) --features tls --bin boottorrent-agent-tls

# Needs gcc-aarch64-linux-gnu, and `rustup target add aarch64-unknown-linux-musl`.
agent-arm64:
	$(MAKE) --no-print-directory agent AGENT_TARGET=$(ARM64)

server:
	$(if $(BOOTTORRENT_SERVER),,cargo build $(CARGO_FLAGS) --release -p boottorrent-server)

# Man pages and completions, as the program itself tells them.
manual: server
	rm -rf $(MANUAL)
	$(SERVER) manual $(MANUAL)

# The documentation for reading where it is installed; links that lead nowhere are found.
html:
	rm -rf target/html
	cargo run -q $(CARGO_FLAGS) -p bootspec --example html target/html

check:
	cargo check --workspace --all-targets

# No root, and no network of its own: what needs these is in `make test`.
unit:
	cargo test --workspace --exclude boottorrent-tests --lib --bins --test layers

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	shellcheck $$(git grep -lE '^#!/bin/(ba)?sh|^# shellcheck shell=' -- ':!*.rs')
	@if command -v typos >/dev/null; then typos; else echo 'typos is not installed: spelling is not checked'; fi
	@# Advisories are not among these: their database is a git repository, which a machine that tests may not reach.
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check licenses bans sources; \
	else echo 'cargo-deny is not installed: licences and sources of dependencies are not checked'; fi

# Links in comments that lead nowhere.
lint-docs:
	RUSTDOCFLAGS=-Dwarnings cargo doc -q --no-deps --document-private-items --workspace

# What is shipped, with the oldest Rust that Cargo.toml promises.
MSRV = $(shell sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' Cargo.toml)
msrv:
	@if rustup toolchain list | grep -q '^$(MSRV)' || rustup -q toolchain install $(MSRV) --profile minimal; then \
		cargo +$(MSRV) check --workspace --exclude boottorrent-tests --exclude boottorrent-fuzz --target-dir target/msrv; \
	else echo 'rustup cannot fetch Rust $(MSRV): it is not known whether that still compiles'; fi

# The README's picture of the terminal UI, with two real machines (root; `make build` first).
screen:
	BOOTTORRENT_SCREEN=$(CURDIR)/docs/screen.svg cargo test -p boottorrent-tests --test tui with_keys_only

# The pictures of docs/screens.md (needs chromium).
screens:
	BOOTTORRENT_SCREENS=$(CURDIR)/docs/screens cargo test -p boottorrent-server --test screens -- --ignored

setup:
	scripts/setup

test:
	scripts/test

test-full:
	BOOTTORRENT_FULL=1 scripts/test

# Long: coverage-guided, SECONDS for each target, or for those in TARGETS. `make test` has a short run.
SECONDS = 600
TARGETS =
fuzz:
	scripts/fuzz -s $(SECONDS) $(TARGETS)

demo: setup build
	N=$(N) KEEP=$(KEEP) cargo run --release -q -p boottorrent-tests --bin demo

bench: setup build
	scripts/bench

bench-quick: setup build
	scripts/bench --quick

# What goes wrong in a room, and docs/reliability.md of how it ended; NAMES="…" for some of it.
NAMES =
reliability: setup build
	cargo run --release -q -p boottorrent-tests --bin reliability -- $(NAMES)

docs:
	cargo run -q -p bootspec --example kernel-parameters > docs/kernel-parameters.md
	cargo run -q -p boottorrent-server --example api > docs/api.md
	cargo run -q -p boottorrent-server --example openapi > docs/openapi.json
	cargo run -q -p boottorrent-server --example agent-manual docs/man

install: build manual install-agent install-initramfs-tools install-server install-units

# Each of these is what one Debian package has (debian/rules).
install-agent:
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/libexec/boottorrent $(AGENT) $(AGENT)-tls
	install -d $(DESTDIR)/etc/boottorrent/keys $(DESTDIR)/etc/boottorrent/ca $(SHARE)/man/man8
	install -m 644 docs/man/*.8 $(SHARE)/man/man8

# Beside the server's own agent, for images of arm64; `make agent-arm64` first.
install-agent-arm64:
	for end in '' -tls; do \
		install -D -m 755 target/$(ARM64)/agent/boottorrent-agent$$end \
			$(DESTDIR)$(PREFIX)/libexec/boottorrent/boottorrent-agent-arm64$$end || exit; \
	done

install-initramfs-tools:
	install -D -m 755 initramfs-hooks/initramfs-tools/hooks/boottorrent $(INITRAMFS)/hooks/boottorrent
	install -D -m 755 initramfs-hooks/initramfs-tools/hooks/boottorrent-netboot $(INITRAMFS)/hooks/boottorrent-netboot
	install -D -m 644 initramfs-hooks/initramfs-tools/conf-hooks.d/boottorrent $(INITRAMFS)/conf-hooks.d/boottorrent
	install -D -m 644 initramfs-hooks/initramfs-tools/scripts/boottorrent $(INITRAMFS)/scripts/boottorrent
	[ -e $(DESTDIR)/etc/boottorrent/initramfs.conf ] || \
		install -D -m 644 initramfs-hooks/initramfs-tools/initramfs.conf $(DESTDIR)/etc/boottorrent/initramfs.conf

# Beside the agent, for images whose initrd dracut makes.
install-dracut:
	install -d $(DRACUT)
	install -m 755 initramfs-hooks/dracut/95boottorrent/*.sh $(DRACUT)
	chmod 644 $(DRACUT)/boottorrent-lib.sh $(DRACUT)/url-boottorrent.sh

install-server:
	install -D -m 755 $(SERVER) $(DESTDIR)$(PREFIX)/bin/boottorrent
	[ -e $(DESTDIR)/etc/boottorrent/server.toml ] || \
		install -D -m 644 server/server.toml $(DESTDIR)/etc/boottorrent/server.toml
	install -d $(DESTDIR)/etc/boottorrent/keys
	for section in 1 5 7; do \
		install -d $(SHARE)/man/man$$section && \
		install -m 644 $(MANUAL)/man/*.$$section $(SHARE)/man/man$$section || exit; \
	done
	install -D -m 644 $(MANUAL)/completions/bash/boottorrent $(SHARE)/bash-completion/completions/boottorrent
	install -D -m 644 $(MANUAL)/completions/zsh/_boottorrent $(SHARE)/zsh/vendor-completions/_boottorrent
	install -D -m 644 $(MANUAL)/completions/fish/boottorrent.fish $(SHARE)/fish/vendor_completions.d/boottorrent.fish
	install -D -m 644 -t $(SHARE)/boottorrent/sources.d server/sources.d/*.toml

# Beside Debian's package ltsp, which it needs.
LTSP = $(DESTDIR)$(PREFIX)/share/ltsp
install-ltsp:
	for script in common/initrd/45 server/kernel/45 server/ipxe/75 server/boottorrent/55; do \
		install -D -m 644 ltsp/$$script-boottorrent.sh $(LTSP)/$$script-boottorrent.sh || exit 1; \
	done
	install -D -m 644 ltsp/ltsp.conf $(DESTDIR)$(PREFIX)/share/doc/ltsp-server-boottorrent/examples/ltsp.conf
	install -D -m 644 ltsp/ltsp-boottorrent.8 $(DESTDIR)$(PREFIX)/share/man/man8/ltsp-boottorrent.8

# In packages debhelper does this.
install-units:
	install -D -m 644 debian/boottorrent-server.service $(UNITS)/systemd/system/boottorrent-server.service
	install -D -m 644 debian/boottorrent-server.sysusers $(UNITS)/sysusers.d/boottorrent-server.conf
	install -D -m 644 debian/boottorrent-server.tmpfiles $(UNITS)/tmpfiles.d/boottorrent-server.conf

# The packages, in target/deb. In a checkout build dependencies come from rustup: -d.
deb:
	rm -rf target/deb
	mkdir -p target/deb
	DEB_DEST=$(CURDIR)/target/deb dpkg-buildpackage --build=binary --no-sign -d -nc \
		--buildinfo-option=-u$(CURDIR)/target/deb --changes-option=-u$(CURDIR)/target/deb \
		--buildinfo-file=$(CURDIR)/target/deb/boottorrent.buildinfo \
		--changes-file=$(CURDIR)/target/deb/boottorrent.changes
	dh_clean

# The source package with all crates, in target/source: builds without a network.
deb-source:
	scripts/deb-source target/source

.PHONY: all build agent agent-arm64 server manual html check unit lint lint-docs msrv setup screen screens test test-full fuzz demo bench bench-quick reliability docs
.PHONY: install install-agent install-agent-arm64 install-initramfs-tools install-dracut install-server install-units install-ltsp deb deb-source

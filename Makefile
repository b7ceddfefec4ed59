# SPDX-License-Identifier: GPL-3.0-or-later
# The front door. `make demo` shows everything, `make test` proves it.

DESTDIR =
PREFIX = /usr
MUSL = x86_64-unknown-linux-musl
AGENT = target/$(MUSL)/agent/boottorrent-agent
SERVER = target/release/boottorrent
INITRAMFS = $(DESTDIR)$(PREFIX)/share/initramfs-tools

# N machines in the demo; KEEP=1 leaves them running.
N = 3
KEEP =

all: build

build: agent server

# Its C code is compiled with plain gcc: musl-gcc is not needed.
agent:
	CC_x86_64_unknown_linux_musl=gcc cargo build --profile agent --target $(MUSL) -p boottorrent-agent

server:
	cargo build --release -p boottorrent-server

check:
	cargo check --workspace --all-targets

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	shellcheck $$(git grep -lE '^#!/bin/(ba)?sh|^# shellcheck shell=')

setup:
	scripts/setup

test:
	scripts/test

test-full:
	BOOTTORRENT_FULL=1 scripts/test

demo: setup build
	N=$(N) KEEP=$(KEEP) cargo run --release -q -p boottorrent-tests --bin demo

bench: setup build
	scripts/bench

bench-quick: setup build
	scripts/bench --quick

docs:
	cargo run -q -p bootspec --example kernel-parameters > docs/kernel-parameters.md
	cargo run -q -p boottorrent-server --example agent-manual docs/man

install: install-agent install-server

install-agent:
	install -D -m 755 $(AGENT) $(DESTDIR)$(PREFIX)/libexec/boottorrent/boottorrent-agent
	install -D -m 755 initramfs-hooks/initramfs-tools/hooks/boottorrent $(INITRAMFS)/hooks/boottorrent
	install -D -m 644 initramfs-hooks/initramfs-tools/scripts/boottorrent $(INITRAMFS)/scripts/boottorrent

install-server:
	install -D -m 755 $(SERVER) $(DESTDIR)$(PREFIX)/bin/boottorrent
	[ -e $(DESTDIR)/etc/boottorrent/server.toml ] || \
		install -D -m 644 server/server.toml $(DESTDIR)/etc/boottorrent/server.toml

.PHONY: all build agent server check lint setup test test-full demo bench bench-quick docs install install-agent install-server

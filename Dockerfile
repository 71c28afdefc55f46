# Not built anywhere yet: no container engine was at hand. The packages are those of scripts/setup.
# One topology's binary: --build-arg TOPOLOGY=<name>
FROM rust:1.95.0-bookworm AS build
ARG TOPOLOGY=cdc-invalidation
RUN apt-get update \
    && apt-get install --yes --no-install-recommends clang libclang-dev libssl-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The cache keeps RocksDB's objects between builds.
RUN --mount=type=cache,target=/target,sharing=locked \
    --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    CARGO_TARGET_DIR=/target cargo build --release --locked --package "$TOPOLOGY" \
    && cp "/target/release/$TOPOLOGY" /topology

FROM debian:bookworm-20250407-slim
# curl is for the health check.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl libssl3 libstdc++6 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home headrace \
    && install --directory --owner headrace --mode 0700 /var/lib/headrace
COPY --from=build /topology /usr/local/bin/topology
USER headrace
VOLUME /var/lib/headrace
EXPOSE 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/topology"]

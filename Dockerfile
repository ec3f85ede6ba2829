# The gateway as an image. One command runs it on a SQLite file in a volume:
#
#   docker build -t vehicle-gateway .
#   docker run -p 127.0.0.1:3000:3000 -p 4000:4000 -v vehicle-gateway:/var/lib/vehicle-gateway vehicle-gateway
#
# BuildKit makes it, as of Docker 23 by default.

FROM rust:1-slim-bookworm AS build
WORKDIR /build
# Only what the program is made of: a change of the documentation or of a test builds nothing anew.
COPY Cargo.toml Cargo.lock ./
COPY migrations migrations
COPY config config
COPY src src
# The caches outlive the layer: dependencies are fetched and compiled once for all builds on this machine. What is in them
# is not in the layer, so the program is copied out.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --profile dist --locked --bin vehicle-gateway \
    && cp target/dist/vehicle-gateway /usr/local/bin/vehicle-gateway

FROM debian:bookworm-slim
# The authorities by which servers of TLS are known.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=10001 --group=10001 /var/lib/vehicle-gateway
COPY --from=build /usr/local/bin/vehicle-gateway /usr/local/bin/vehicle-gateway
LABEL org.opencontainers.image.title="vehicle-gateway" \
      org.opencontainers.image.description="One daemon between connected vehicles and the software that runs a fleet" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
# A number, so that Kubernetes sees that it is not root.
USER 10001:10001
# The only place that is written to, by SQLite: the rest of the file system may be read-only.
WORKDIR /var/lib/vehicle-gateway
VOLUME /var/lib/vehicle-gateway
# Within a container loopback reaches nobody. In the environment, where the health check sees it too: an address in a
# settings file or in the arguments would be known to the gateway alone.
# Who may use the API is not decided here: without GATEWAY_HTTP__AUTH the container says what to set, and exits.
ENV GATEWAY_HTTP__LISTEN=0.0.0.0:3000 \
    GATEWAY_DEVICE__LISTEN=0.0.0.0:4000
EXPOSE 3000 4000
# Vehicles are told goodbye.
STOPSIGNAL SIGTERM
# Only whether the process answers: a restart heals no database.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s CMD ["vehicle-gateway", "health"]
ENTRYPOINT ["vehicle-gateway"]

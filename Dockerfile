# syntax=docker/dockerfile:1
FROM rust:1.95.0-bookworm AS build
# The toolchain file also asks for components that a build does not use.
ENV RUSTUP_TOOLCHAIN=1.95.0 CARGO_TERM_COLOR=never
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin evp \
    && install -D target/release/evp /out/evp

# The C library and the CA certificates, without a shell.
FROM gcr.io/distroless/cc-debian12:nonroot
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
COPY --from=build /out/evp /usr/local/bin/evp
# One static file, for health checks: busybox acts as the program it is called by.
COPY --from=busybox:1.37.0-musl /bin/busybox /usr/local/bin/wget
WORKDIR /home/nonroot
EXPOSE 8080
# Of `capture` and `process` with `--http 0.0.0.0:8080`; other commands end before anybody asks.
HEALTHCHECK --interval=15s --timeout=10s --start-period=20s --retries=4 \
    CMD ["/usr/local/bin/wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/readyz"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/evp"]
CMD ["--help"]

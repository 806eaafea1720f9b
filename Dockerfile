# One image per service: docker build --build-arg SERVICE=smtp-in -t ghcr.io/posthorn/posthorn-smtp-in .
# SERVICE is smtp-in (both roles, mx and submission), delivery, relay, pop3 or api. Any of them also holds `posthorn-migrate`.
#
# - Libraries come from requirements/<service>.txt, checked against their hashes, as wheels only: nothing is compiled, so no stage
#   holds a compiler. The final stage holds no installer either.
# - The libraries' own tests are left out: they are a tenth of what the libraries weigh.
# - Bytecode is compiled here and never checked again: the root filesystem is meant to be read-only.
# - A service writes nowhere but to /tmp, and smtp-in to /var/spool/posthorn (large messages on their way in): mount both.
ARG PYTHON_IMAGE=python:3.13-slim-trixie

# ---- what all images share while they are built: the build backends, and our library as a wheel
FROM ${PYTHON_IMAGE} AS wheels
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore PIP_QUIET=1
COPY requirements/build.txt /src/requirements/build.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    ["python3", "-m", "pip", "install", "--only-binary=:all:", "--require-hashes", "--target=/backends", "-r", "/src/requirements/build.txt"]
ENV PYTHONPATH=/backends
COPY libs/posthorn /src/libs/posthorn
RUN ["python3", "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir=/wheels", "/src/libs/posthorn"]

# ---- one service with its libraries, in an environment of its own
FROM ${PYTHON_IMAGE} AS libraries
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore PIP_QUIET=1
COPY --from=wheels /backends /backends
ARG SERVICE
COPY requirements/${SERVICE}.txt /src/requirements.txt
# nkeys has no wheel; it is Python alone
RUN --mount=type=cache,target=/root/.cache/pip \
    ["env", "PYTHONPATH=/backends", "python3", "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--only-binary=:all:", "--no-binary=nkeys", "--require-hashes", "--wheel-dir=/wheels", "-r", "/src/requirements.txt"]
RUN ["python3", "-m", "venv", "--without-pip", "/opt/posthorn"]
RUN python3 -m pip --python /opt/posthorn/bin/python install --no-deps --no-index /wheels/*.whl \
    && rm -r /wheels \
    && find /opt/posthorn/lib -type d \( -name tests -o -name testing -o -name SelfTest \) -prune -exec rm -r {} + \
    && /opt/posthorn/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/posthorn/lib

FROM libraries AS build
ARG SERVICE
COPY services/${SERVICE} /src/service
COPY --from=wheels /wheels /wheels
RUN ["env", "PYTHONPATH=/backends", "python3", "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir=/wheels", "/src/service"]
RUN python3 -m pip --python /opt/posthorn/bin/python install --no-deps --no-index /wheels/*.whl \
    && /opt/posthorn/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/posthorn/lib \
    && ln -s "posthorn-${SERVICE}" /opt/posthorn/bin/serve \
    && install -d -o 10001 -g 10001 -m 0700 /spool

# ---- what runs
FROM ${PYTHON_IMAGE}
RUN ["python3", "-m", "pip", "uninstall", "--quiet", "--yes", "--root-user-action=ignore", "pip"]
COPY --from=build --chown=10001:10001 /spool /var/spool/posthorn
COPY --from=build /opt/posthorn /opt/posthorn
# HOME: some libraries look there for credentials of their own
ENV PATH=/opt/posthorn/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 9100
STOPSIGNAL SIGTERM
# Ready, not merely alive: `docker compose up --wait` and depends_on ask for it, and nothing restarts a container that is not.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/opt/posthorn/bin/python", "-ISc", "import socket; c = socket.create_connection(('127.0.0.1', 9100), 4); c.sendall(b'GET /readyz HTTP/1.0\\r\\n\\r\\n'); raise SystemExit(b' 200 ' not in c.recv(64))"]
ENTRYPOINT ["/opt/posthorn/bin/serve"]
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="posthorn-${SERVICE}" \
      org.opencontainers.image.description="Posthorn, a Kubernetes-native mail server: ${SERVICE}" \
      org.opencontainers.image.source="https://github.com/posthorn/posthorn" \
      org.opencontainers.image.vendor="Posthorn" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-trixie" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

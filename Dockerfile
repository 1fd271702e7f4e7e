# One image for everything `omni-relay` does; the worker by default.
#
# The modules on the path of a message run compiled; `--env OMNI_RELAY_COMPILED=false` runs their sources.
#
#   docker build --tag omni-relay --build-arg REVISION="$(git rev-parse HEAD)" .
#
# BASE may name the same image by a digest that you trust: --build-arg BASE=python@sha256:…

ARG BASE=python:3.13.11-slim-trixie
FROM ${BASE} AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_NO_CACHE=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_PYTHON_DOWNLOADS=never

# From the one lock: uv by its own hashes; then what pyproject.toml names and what that needs, each at the
# version and with a hash that the lock gives as a constraint. What it holds besides, for development, stays out.
COPY pyproject.toml requirements.lock ./
RUN awk '/^uv==/ { wanted = 1 } wanted { print } wanted && !/\\$/ { exit }' requirements.lock >uv.txt \
    && python -m venv uv \
    && uv/bin/pip install --require-hashes --no-deps -r uv.txt \
    && python -m venv --without-pip /opt/omni-relay \
    && uv/bin/uv pip install --python /opt/omni-relay --require-hashes -r pyproject.toml --extra trace --extra memory -c requirements.lock

COPY README.md ./
COPY service service
RUN uv/bin/uv pip install --python /opt/omni-relay --no-deps --offline .


# Compiled here, so that neither compiler nor mypy is shipped.
FROM build AS compiled
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && uv/bin/uv pip install --python /opt/omni-relay --require-hashes --group compile -c requirements.lock \
    && /opt/omni-relay/bin/python -m service.compiled.build


FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="OMNI Relay" \
      org.opencontainers.image.description="Send requests from RabbitMQ to Infobip's OMNI API, and status events back" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/omni-relay/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    OMNI_RELAY_COMPILED=true
COPY --from=build /opt/omni-relay /opt/omni-relay
COPY --from=compiled /opt/omni-relay/compiled /opt/omni-relay/compiled

# A number, so that Kubernetes can see that it is not root. Its files, and the working directory, are root's alone.
USER 10001:10001
WORKDIR /opt/omni-relay
EXPOSE 9464
# http.client and not urllib: a proxy in the environment must not be asked.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('RELAY_HTTP_PORT', '9464')), timeout=3); c.request('GET', '/livez'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["omni-relay"]
CMD ["worker"]

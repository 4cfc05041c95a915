# One image for all services of the stack and its tools (compose.yaml); what a container does is its first argument:
# `serve issuer --config FILE`, `run street_market --live`, ... The final image holds the interpreter, the locked
# dependencies and fourparty, no compiler, no installer of its own.

FROM python:3.11-slim-bookworm AS build

# of who installs from an index of their own
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_DEFAULT_TIMEOUT=60

WORKDIR /src
RUN python3 -m venv --without-pip /opt/fourparty && python3 -m venv /opt/build
# what changes seldom comes first: a change of the source builds in seconds
COPY requirements-build.lock requirements-run.lock ./
RUN /opt/build/bin/pip install --quiet --require-hashes --only-binary :all: -r requirements-build.lock \
 && /opt/build/bin/pip --python /opt/fourparty/bin/python install --quiet --require-hashes --only-binary :all: \
      -r requirements-run.lock
COPY . .
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/fourparty/bin/python install --quiet --no-deps --no-index --target /opt/own /wheels/*.whl


FROM python:3.11-slim-bookworm

# a service may read its own settings and secrets and write nothing; the jobs that prepare the network write them
RUN groupadd --gid 10001 fourparty \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fourparty \
 && for service in authority postgres issuer-a issuer-b switch acquirer device; do \
      install -d -o 10001 -g 10001 -m 0700 "/stack/$service"; \
    done \
 && install -d -o 10001 -g 10001 -m 0700 /etc/fourparty \
 && install -d -o 10001 -g 10001 -m 0770 /stack/demo \
 && install -d -o 10001 -g 10001 -m 0755 /stack/prometheus \
 && install -d /runs
COPY --from=build /opt/fourparty /opt/fourparty
COPY stack/as-owner-of /usr/local/bin/as-owner-of

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fourparty" \
      org.opencontainers.image.description="A four-party payment network you can run, load and break" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
ENV PATH=/opt/own/bin:/opt/fourparty/bin:$PATH PYTHONPATH=/opt/own PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["fourparty"]
CMD ["--help"]

COPY --from=build /opt/own /opt/own

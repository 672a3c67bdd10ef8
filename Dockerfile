# The production daemon, and the operator's command `sbm`. It wants a PostgreSQL 14 or newer, and
# the settings of the manual in its environment.

# `make base-image` writes the digest of today's image here, and `make image` needs it. Without a
# digest, two builds may have different bases.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS builder

WORKDIR /src
COPY requirements/build.txt requirements/runtime.txt requirements/
# pip checks the hash of each file. What builds those that come as source only is here before: pip
# would not check it otherwise.
RUN pip install --no-cache-dir --require-hashes --requirement requirements/build.txt \
 && pip wheel --no-cache-dir --no-build-isolation --wheel-dir /wheels \
        --require-hashes --requirement requirements/runtime.txt
COPY . .
RUN pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /wheels . \
 && python -m venv --without-pip /opt/sbm \
 && pip --python /opt/sbm install --no-cache-dir --no-index --no-deps /wheels/*.whl \
# Load the plugins once: the cache cannot be written when the daemon runs.
 && /opt/sbm/bin/twistd --help > /dev/null

FROM ${BASE_IMAGE}

RUN useradd --system --no-create-home --shell /usr/sbin/nologin sbm
COPY --from=builder /opt/sbm /opt/sbm
# docker build --build-arg SBM_COMMIT=$(git rev-parse HEAD): `sbm status` shows it.
ARG SBM_COMMIT=
ENV PATH=/opt/sbm/bin:$PATH PYTHONUNBUFFERED=1 SBM_COMMIT=$SBM_COMMIT

USER sbm
WORKDIR /tmp
EXPOSE 8000

ENTRYPOINT ["twistd", "--nodaemon", "--pidfile=", "sbm"]

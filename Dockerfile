# The production daemon, and the operator's command `sbm`. It wants a PostgreSQL 14 or newer, and
# the settings of the manual in its environment.

FROM python:3.13-slim AS builder

WORKDIR /src
COPY requirements/runtime.txt requirements/runtime.txt
RUN python -m venv /opt/sbm \
 && /opt/sbm/bin/pip install --no-cache-dir --requirement requirements/runtime.txt
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && /opt/sbm/bin/pip install --no-cache-dir --no-deps /wheels/*.whl \
# Load the plugins once: the cache cannot be written when the daemon runs.
 && /opt/sbm/bin/twistd --help > /dev/null

FROM python:3.13-slim

RUN useradd --system --no-create-home --shell /usr/sbin/nologin sbm
COPY --from=builder /opt/sbm /opt/sbm
# docker build --build-arg SBM_COMMIT=$(git rev-parse HEAD): `sbm status` shows it.
ARG SBM_COMMIT=
ENV PATH=/opt/sbm/bin:$PATH PYTHONUNBUFFERED=1 SBM_COMMIT=$SBM_COMMIT

USER sbm
WORKDIR /tmp
EXPOSE 8000

ENTRYPOINT ["twistd", "--nodaemon", "--pidfile=", "sbm"]

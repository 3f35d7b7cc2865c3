# The service without a Jenkins. Its state is in /data.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/shuttle
COPY requirements.txt .
RUN /opt/shuttle/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY pyproject.toml README.md ./
COPY examples examples
COPY jenkins_pipelines jenkins_pipelines
COPY jenkins_emulator jenkins_emulator
COPY bldst bldst
COPY shuttle shuttle
RUN /opt/shuttle/bin/pip install --no-cache-dir --no-build-isolation --no-deps .

# `docker build --target bldst`: an image for steps of other CI systems that report the states of their builds.
FROM python:3.11-slim AS bldst
RUN apt-get update && apt-get install --yes --no-install-recommends git ca-certificates curl jq \
    && rm -rf /var/lib/apt/lists/*
COPY bldst /opt/bldst/bldst
RUN printf '#!/bin/sh\nPYTHONPATH=/opt/bldst exec python3 -m bldst "$@"\n' > /usr/local/bin/bldst \
    && chmod +x /usr/local/bin/bldst && bldst --version
CMD ["bldst", "--help"]

FROM python:3.11-slim
# For git sources.
RUN apt-get update && apt-get install --yes --no-install-recommends git ca-certificates && rm -rf /var/lib/apt/lists/*
RUN useradd --system --user-group --uid 10001 --home-dir /data --no-create-home shuttle \
    && install -d -o shuttle -g shuttle -m 700 /data
COPY --from=build /opt/shuttle /opt/shuttle
ENV PATH=/opt/shuttle/bin:$PATH PYTHONDONTWRITEBYTECODE=1 SHUTTLE_BIND=0.0.0.0 SHUTTLE_DATA_DIR=/data
USER shuttle
VOLUME /data
EXPOSE 9000
# Without the proxy that HTTP_PROXY may name.
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import os; from urllib.request import *; \
build_opener(ProxyHandler({})).open(f\"http://127.0.0.1:{os.environ.get('PORT') or 9000}/healthz\", timeout=2)"]
# The root may be mounted read-only: the service writes to /data, and small files to /tmp.
# Without SHUTTLE_TOKENS and SHUTTLE_ALLOW_ANONYMOUS the service prints what to set, and exits.
CMD ["shuttle", "serve"]

# syntax=docker/dockerfile:1

# The editor, in a stage of its own: what it needs is installed anew only when the lock file changes.
FROM node:24-slim AS web
WORKDIR /src/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund --omit=dev
COPY web ./
RUN MEL_WEB_OUT=/web_dist npm run build

# The wheel is built in a stage of its own, so that nothing of the tools that built it is in the image.
FROM python:3.13-slim AS build
WORKDIR /src
RUN pip install --no-cache-dir build
COPY pyproject.toml hatch_build.py README.md LICENSE CHANGELOG.md ./
COPY melagent melagent
COPY --from=web /web_dist melagent/web_dist
COPY migrations migrations
RUN python -m build --wheel --outdir /wheels

# Nothing is written outside /data and /tmp: the root file system may be read-only. A server that is to start its own
# database needs a volume on /data; instances and workers beside a database keep nothing there.
FROM python:3.13-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MEL_DATA_DIR=/data MEL_SERVER_HOST=0.0.0.0 \
    MEL_WORKER_HEALTH_PORT=8081
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/*.whl)[embedded]" \
    && useradd --system --uid 10001 --home-dir /data mel \
    && install -d -o mel -g mel /data
WORKDIR /app
COPY --chmod=755 server ./server
USER mel
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["./server", "healthcheck"]
CMD ["./server", "server"]

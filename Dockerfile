# syntax=docker/dockerfile:1

# The wheel is built in a stage of its own, so that nothing of the tools that built it is in the image.
FROM python:3.13-slim AS build
WORKDIR /src
RUN pip install --no-cache-dir build
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY melagent melagent
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

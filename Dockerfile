# The server with vLLM's GPU build. The host needs NVIDIA's driver and container toolkit; the CUDA
# libraries come with the wheels.
#
#   docker build -t lrm .
#   docker run --gpus all -p 127.0.0.1:8080:8080 -p 127.0.0.1:50051:50051 -e LRM_TOKEN=... lrm

FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE CHANGELOG.md ./
COPY proto proto
COPY client client
COPY server server
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
# Triton and torch.compile compile small files when the engine starts.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libnuma1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/lrm-*.whl)[gpu]" && rm -r /wheels
RUN useradd --create-home --uid 1000 lrm
USER lrm
WORKDIR /home/lrm
# A volume that is mounted here takes over its owner.
RUN mkdir -p .cache/huggingface
# Off loopback the server starts with a token only: LRM_TOKEN, or LRM_TOKEN_FILE.
ENV LRM_HOST=0.0.0.0 \
    LRM_LOG_FORMAT=json
EXPOSE 8080 50051
STOPSIGNAL SIGTERM
# A large checkpoint takes minutes to load.
HEALTHCHECK --start-period=10m --interval=15s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["lrm", "serve"]

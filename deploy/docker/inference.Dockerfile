# The inference service. The build context is the folder of a Bento (`bentoml build`), which is the source of what runs:
# docker build -f deploy/docker/inference.Dockerfile -t voxify-inference "$(bentoml get voxify_inference:latest -o path)"
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm
# The same system and Python.
ARG BUILD_IMAGE=docker.io/library/python:3.11-bookworm

FROM ${BUILD_IMAGE} AS build
# Where pip finds packages, where it is not PyPI; none of it stays in the image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
# `cuda`: PyTorch with its CUDA libraries, which runs on a CPU as well. `cpu`: without them, about 3 GB less.
ARG VARIANT=cuda
COPY env/python/requirements.txt /build/requirements.txt
# For `cpu`, PIP_INDEX_URL must be an index that has the CPU builds of the pinned torch and torchaudio, and what else is in the list.
RUN python3 -m venv /opt/voxify \
 && case "$VARIANT" in \
      cuda) cp /build/requirements.txt /build/wanted.txt ;; \
      cpu) grep -vE '^(nvidia-|cuda-|triton==)' /build/requirements.txt > /build/wanted.txt ;; \
      *) echo "VARIANT must be cuda or cpu" >&2; exit 1 ;; \
    esac \
 && /opt/voxify/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps -r /build/wanted.txt \
 && /opt/voxify/bin/pip uninstall --yes pip
COPY src /app
RUN /opt/voxify/bin/python -m compileall -q /app

FROM ${BASE_IMAGE}
RUN echo 'voxify:x:10001:10001:Voxify:/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'voxify:x:10001:' >> /etc/group \
 && mkdir /data \
 && chown 10001:10001 /data
COPY --from=build /opt/voxify /opt/voxify
COPY --from=build /app /app
WORKDIR /app
# Libraries keep caches, and find them in HOME.
ENV PATH=/opt/voxify/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=True \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    VOXIFY_DATA_DIR=/data \
    VOXIFY_INFERENCE_HOST=0.0.0.0
USER 10001:10001
VOLUME /data
EXPOSE 3000
# The first start may download a model.
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/readyz', timeout=4)"]
ENTRYPOINT ["python", "-m", "inference"]
CMD ["serve"]

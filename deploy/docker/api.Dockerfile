# The API, the workers and beat: one image, told apart by its command. It holds no torch.
# Built from the root of the repository: docker build -f deploy/docker/api.Dockerfile -t voxify-api .
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm
# The same system and Python, with binutils.
ARG BUILD_IMAGE=docker.io/library/python:3.11-bookworm

FROM ${BUILD_IMAGE} AS build
# Where pip finds packages, where it is not PyPI; none of it stays in the image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
COPY requirements/api.txt /build/requirements.txt
# Debug symbols and the packages' own tests are a quarter of what is installed. The libraries in *.libs have been rewritten by the makers of
# the wheels, and strip could spoil them.
RUN python3 -m venv /opt/voxify \
 && /opt/voxify/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --only-binary :all: -r /build/requirements.txt \
 && cd /opt/voxify/lib/python3.11/site-packages \
 && find . -type d \( -name tests -o -path ./chromadb/test \) -prune -exec rm -r {} + \
 && find . -name '*.so' -not -path '*.libs/*' -exec strip --strip-debug {} +
# Voxify itself comes last, so that a change of it builds quickly. Inference is not in the context and so not installed.
COPY . /build/voxify
RUN /opt/voxify/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps /build/voxify \
 && /opt/voxify/bin/pip uninstall --yes pip setuptools

FROM ${BASE_IMAGE}
RUN echo 'voxify:x:10001:10001:Voxify:/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'voxify:x:10001:' >> /etc/group \
 && mkdir /data \
 && chown 10001:10001 /data
COPY --from=build /opt/voxify /opt/voxify
WORKDIR /data
ENV PATH=/opt/voxify/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    VOXIFY_DATA_DIR=/data \
    VOXIFY_API_HOST=0.0.0.0
USER 10001:10001
VOLUME /data
EXPOSE 8000
# Of the API; where the command is another one, so must this be.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["voxify"]
CMD ["serve"]

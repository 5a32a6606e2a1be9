# One image for every process of torchqueue; its command says which. `make image` builds and tries it.

# Any base with glibc, Python 3.11 or newer and its venv module will do.
ARG BASE_IMAGE=python:3.12-slim-bookworm

# pip stays in this stage, so that the image that ships cannot install anything.
FROM ${BASE_IMAGE} AS installer
RUN python3 -m venv /opt/installer
COPY deploy/pip-with-secrets.sh /opt/installer/bin/

# The code becomes a wheel apart from its dependencies: a change to it leaves their layer as it is.
FROM installer AS wheel
WORKDIR /src
COPY . .
RUN --mount=type=secret,id=pip_env \
    --mount=type=secret,id=pip_conf \
    --mount=type=secret,id=ca_bundle \
    /opt/installer/bin/pip-with-secrets.sh wheel --no-deps --wheel-dir /wheels .

FROM ${BASE_IMAGE}

# A number for the user lets Kubernetes check that it is not root. Its home is the one folder that may be written
# where the root file system is read-only: libraries keep caches there. The folder for objects exists so that a
# volume mounted on it belongs to the user.
RUN groupadd --gid 10001 torchqueue \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin torchqueue \
    && install --directory --owner=10001 --group=10001 /var/lib/torchqueue /var/lib/torchqueue/objects /var/lib/torchqueue/spool \
    && python3 -m venv --without-pip /opt/torchqueue

# Wheels only: a package that had to be compiled would need a compiler here.
RUN --mount=type=bind,from=installer,source=/opt/installer,target=/opt/installer \
    --mount=type=bind,source=requirements/runtime.txt,target=/mnt/runtime.txt \
    --mount=type=secret,id=pip_env \
    --mount=type=secret,id=pip_conf \
    --mount=type=secret,id=ca_bundle \
    /opt/installer/bin/pip-with-secrets.sh --python /opt/torchqueue/bin/python \
    install --require-hashes --only-binary :all: --requirement /mnt/runtime.txt

RUN --mount=type=bind,from=installer,source=/opt/installer,target=/opt/installer \
    --mount=type=bind,from=wheel,source=/wheels,target=/mnt/wheels \
    /opt/installer/bin/pip-with-secrets.sh --python /opt/torchqueue/bin/python \
    install --no-index --no-deps /mnt/wheels/*.whl

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="torchqueue" \
      org.opencontainers.image.description="A production backend for PyTorch models." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# `utility` brings nvidia-smi, from which a worker learns the GPUs before it loads torch.
ENV PATH="/opt/torchqueue/bin:${PATH}" \
    TORCHQUEUE_VAR="/var/lib/torchqueue" \
    NVIDIA_DRIVER_CAPABILITIES="compute,utility"

USER 10001:10001
WORKDIR /var/lib/torchqueue
EXPOSE 8000 5555

# The health of a process depends on which one it is, so the checks are in docker-compose.yml.
ENTRYPOINT ["torchqueue"]
CMD ["--help"]

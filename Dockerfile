# One image for the whole pipeline. Needs BuildKit (Docker 23 or later has it switched on).
#
#   docker build --tag han:cpu .
#   docker build --tag han:gpu --build-arg VARIANT=gpu .
#
# docs/machine.md has the commands to run it, with the data on your disk and the ports on 127.0.0.1.
#
# Not based on tensorflow/tensorflow:*-gpu: those images have an older cuDNN than their TensorFlow needs, which then
# trains on the CPU without a message.
FROM python:3.11-slim

# cpu or gpu (CUDA and cuDNN come as wheels; the host needs only NVIDIA's driver and container toolkit).
ARG VARIANT=cpu
# Owner of the files that the container writes: --build-arg USER_UID=$(id -u) --build-arg USER_GID=$(id -g)
ARG USER_UID=1000
ARG USER_GID=1000

ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /app

# The libraries first: this large layer is built again only when a requirements file changes.
COPY requirements.txt requirements-gpu.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    case "$VARIANT" in \
        cpu) requirements='requirements.txt' ;; \
        gpu) requirements='requirements-gpu.txt' ;; \
        *) echo "error: VARIANT is '$VARIANT'; build with --build-arg VARIANT=cpu or VARIANT=gpu" >&2; exit 2 ;; \
    esac \
    && pip install --require-hashes --requirement "$requirements"

# Register the CUDA libraries of the wheels with the dynamic linker, for every user and process, and check that it finds
# the two that TensorFlow loads by name; ptxas, which compiles kernels, is put on the path.
RUN if [ "$VARIANT" = gpu ]; then \
        nvidia="$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia" \
        && printf '%s\n' "$nvidia"/*/lib > /etc/ld.so.conf.d/nvidia-wheels.conf \
        && ldconfig \
        && ldconfig -p > /tmp/libraries \
        && grep -q 'libcudnn\.so\.9 ' /tmp/libraries \
        && grep -q 'libcudart\.so\.12 ' /tmp/libraries \
        && rm /tmp/libraries \
        && ln -s "$nvidia/cuda_nvcc/bin/ptxas" /usr/local/bin/ptxas \
        && ptxas --version; \
    fi

# An ordinary user who owns data/ and runs/. --non-unique: the group may already exist (20 on a Mac).
RUN if [ "$USER_UID" -eq 0 ]; then \
        echo "error: USER_UID 0 is root; leave the argument out or give an ordinary user's number" >&2; exit 2; \
    fi \
    && groupadd --non-unique --gid "$USER_GID" han \
    && useradd --non-unique --uid "$USER_UID" --gid "$USER_GID" --create-home --no-log-init han \
    && mkdir data runs \
    && chown han:han . data runs

# A GPU image without a GPU is an error that would otherwise be noticed only as slow training.
COPY --chmod=755 <<'SCRIPT' /usr/local/bin/entrypoint
#!/bin/sh
set -eu
if [ "$HAN_VARIANT" = gpu ] && [ -n "${CUDA_VISIBLE_DEVICES-0}" ] && [ "${CUDA_VISIBLE_DEVICES-0}" != -1 ]; then
    seen=$(TF_CPP_MIN_LOG_LEVEL=3 python -c '
import tensorflow
print(len(tensorflow.config.list_physical_devices("GPU")))' 2>/tmp/gpu-check.log) || { cat /tmp/gpu-check.log >&2; exit 2; }
    if [ "$seen" = 0 ]; then
        echo "error: this image is built for a GPU and TensorFlow sees none;" \
             "start it with 'docker run --gpus all', or on the CPU with '-e CUDA_VISIBLE_DEVICES='" >&2
        exit 2
    fi
fi
exec "$@"
SCRIPT

ENV HAN_VARIANT=$VARIANT \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONDONTWRITEBYTECODE=1

COPY --chown=han:han . .

USER $USER_UID:$USER_GID
VOLUME ["/app/data", "/app/runs"]
# TensorBoard, the viewer and Jupyter. Publish them on 127.0.0.1 only: they have no password, or one token.
EXPOSE 6006 8000 8888
ENTRYPOINT ["entrypoint"]
CMD ["python", "run_all.py", "sample"]

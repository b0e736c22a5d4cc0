# The service image, which also runs the calibration job. It holds no torch.
#   docker build -t mos-guard .
#   docker build -t mos-guard:gpu --build-arg EXTRAS=calibrate,cuda .
#   docker build -t mos-guard:bulk --build-arg EXTRAS=calibrate,bulk .        # `mos-guard score` too; with ,cuda on a GPU
# Every package is the one that deploy/locks names by version and hash, or nothing is built; `make lock` renews them.
ARG PYTHON_IMAGE=python:3.11-slim

# Dependencies alone: their locks are the only input, so an edit of the source reuses this stage.
FROM ${PYTHON_IMAGE} AS dependencies
ARG EXTRAS=calibrate
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY deploy/locks /locks
# Wheels alone: to build a source package would be to run its code.
RUN install="install --require-hashes --only-binary=:all:" \
    && python -m venv --without-pip /opt/venv \
    && python -m pip ${install} -r /locks/build.txt \
    && python -m pip --python /opt/venv/bin/python ${install} -r "/locks/$(echo "${EXTRAS}" | tr , -).txt"
# Without the CUDA libraries these providers cannot load, and they are a third of the image.
RUN case ",${EXTRAS}," in \
        *,cuda,*) ;; \
        *) rm -f /opt/venv/lib/python*/site-packages/onnxruntime/capi/libonnxruntime_providers_cuda.so \
                 /opt/venv/lib/python*/site-packages/onnxruntime/capi/libonnxruntime_providers_tensorrt.so ;; \
    esac

# The project alone, built and installed without the network. pip writes the bytecode too.
FROM dependencies AS project
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY training training
COPY service service
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m pip --python /opt/venv/bin/python install --no-deps --no-index --target /app /wheels/*.whl

FROM ${PYTHON_IMAGE}
# Two layers: a new version of the project is a small pull, because the dependencies stay as they are.
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=project /app /app
# The bytecode is in the image, and at run time the root file system may be read-only.
# ONNX Runtime reports its use to its vendor unless told before it is loaded that it must not.
ENV PATH=/app/bin:/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    MOS_HOST=0.0.0.0 \
    MOS_PORT=8000
WORKDIR /app
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Ready rather than live: nothing restarts a container on this, it only says whether to send pictures here, and a
# service that lives but has lost its model must not be called healthy. Kubernetes ignores it and has both probes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['MOS_PORT']), timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "service"]
# Last, because they change with every build.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mos-guard" \
      org.opencontainers.image.description="An out-of-distribution guard for image classifiers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

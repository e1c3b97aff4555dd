FROM nvidia/cuda:12.8.1-base-ubuntu24.04
USER root
RUN if ! { command -v git && command -v cc; }; then \
      if command -v apt-get; then \
        export DEBIAN_FRONTEND=noninteractive; apt-get update --quiet; \
        apt-get install --yes --quiet --no-install-recommends build-essential ca-certificates git; \
      elif command -v dnf; then dnf install --assumeyes gcc gcc-c++ git make; \
      elif command -v yum; then yum install --assumeyes gcc gcc-c++ git make; \
      else false; fi || echo "launch-agent: git and a C compiler could not be installed; continuing without them"; \
    fi
COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /usr/local/bin/uv
ENV UV_PYTHON_INSTALL_DIR=/opt/python
RUN uv venv --managed-python --python 3.11 /opt/venv
RUN /opt/venv/bin/python -m ensurepip --default-pip
ENV VIRTUAL_ENV=/opt/venv PATH="/opt/venv/bin:$PATH"
COPY requirements/ /opt/requirements/
WORKDIR /opt/requirements
RUN --mount=type=bind,source=install.py,target=/opt/install.py python /opt/install.py requirements.txt
WORKDIR /opt/program
COPY code/ /opt/program/
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "src/train.py"]

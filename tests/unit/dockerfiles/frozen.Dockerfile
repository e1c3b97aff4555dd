FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM public.ecr.aws/docker/library/python:3.11-trixie AS dependencies
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_LINK_MODE=copy UV_PYTHON_INSTALL_DIR=/opt/dependencies/python VIRTUAL_ENV=/opt/dependencies/venv
RUN uv venv --python 3.11 /opt/dependencies/venv
WORKDIR /tmp/requirements
COPY ["requirements.frozen.txt", "/tmp/requirements/"]
RUN uv pip install --requirement requirements.frozen.txt || grep -Ev '^ *(#|$)' requirements.frozen.txt | while read -r package; do \
      uv pip install --no-deps "$package" || echo "launch-agent: not installed: $package"; done

FROM public.ecr.aws/docker/library/python:3.11-slim-trixie
COPY --from=dependencies /opt/dependencies /opt/dependencies
ENV PATH="/opt/dependencies/venv/bin:$PATH"
USER root
ENV PYTHONUNBUFFERED=1
WORKDIR /opt/program
COPY . /opt/program/
ENTRYPOINT ["python", "src/train.py"]

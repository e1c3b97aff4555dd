FROM public.ecr.aws/docker/library/buildpack-deps:trixie
USER root
COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /usr/local/bin/uv
ENV UV_PYTHON_INSTALL_DIR=/opt/python
RUN uv venv --managed-python --python 3.8 /opt/venv
RUN /opt/venv/bin/python -m ensurepip --default-pip
ENV VIRTUAL_ENV=/opt/venv PATH="/opt/venv/bin:$PATH"
COPY requirements/ /opt/requirements/
WORKDIR /opt/requirements
RUN --mount=type=bind,source=install.py,target=/opt/install.py python /opt/install.py requirements.txt
WORKDIR /opt/program
COPY code/ /opt/program/
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "src/train.py"]

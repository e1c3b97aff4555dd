FROM public.ecr.aws/docker/library/python:3.11-trixie
USER root
COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /usr/local/bin/uv
RUN python -m venv /opt/venv
ENV VIRTUAL_ENV=/opt/venv PATH="/opt/venv/bin:$PATH"
WORKDIR /opt/program
COPY code/ /opt/program/
RUN --mount=type=bind,source=install.py,target=/opt/install.py --mount=type=secret,id=netrc python /opt/install.py requirements.txt
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "src/train.py"]

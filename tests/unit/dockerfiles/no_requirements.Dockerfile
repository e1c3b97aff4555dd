FROM public.ecr.aws/docker/library/python:3.11-slim-trixie
USER root
ENV PYTHONUNBUFFERED=1
WORKDIR /opt/program
COPY . /opt/program/
ENTRYPOINT ["python", "src/train.py"]

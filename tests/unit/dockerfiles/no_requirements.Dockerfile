FROM python:3.11-slim-bookworm
USER root
ENV PYTHONUNBUFFERED=1
WORKDIR /opt/program
COPY . /opt/program/
ENTRYPOINT ["python", "src/train.py"]

FROM team/base:1
USER root
ENV PYTHONUNBUFFERED=1
WORKDIR /opt/program
COPY . /opt/program/
WORKDIR /opt/program/src
ENTRYPOINT ["python", "src/train.py"]

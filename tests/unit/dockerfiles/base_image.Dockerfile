FROM team/base:1
USER root
ENV PYTHONUNBUFFERED=1
WORKDIR /opt/program
COPY . /opt/program/
ENTRYPOINT ["python", "src/train.py"]

FROM team/base:1
USER root
WORKDIR /opt/program
COPY code/ /opt/program/
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "src/train.py"]

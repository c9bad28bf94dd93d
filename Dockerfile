# Clipseq in a container. This image has not been built by us: please report what does not work.
#
#   docker build -t clipseq .                                      on a CPU
#   docker build -t clipseq-gpu --build-arg EXTRA='[gpu]' .        TensorFlow with CUDA, which has never been run on a GPU either
#   docker run --rm -v "$PWD:/data" clipseq extract videos/ --output features/
#
# The av package (PyAV) contains FFmpeg with libx264 and libx265, which are GPL: whoever passes on an image passes on these too.
FROM python:3.11-slim

ARG EXTRA=""

COPY . /opt/clipseq
RUN pip install --no-cache-dir "/opt/clipseq${EXTRA}"

# Converted weights and compiled models; any user may write here, so that `docker run --user` works.
ENV CLIPSEQ_CACHE=/var/cache/clipseq
RUN mkdir -m 1777 "$CLIPSEQ_CACHE"

WORKDIR /data
ENTRYPOINT ["clipseq"]
CMD ["--help"]

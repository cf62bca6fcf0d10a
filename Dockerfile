# One process, no root. The image is laid out as a clone is: pipelines in `config`, all that is written in `var`.
# Own pipelines: -v ./config:/var/lib/intelstream/config:ro, and `run config/mine.yaml` for the command.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python3 -m venv /opt/intelstream && /opt/intelstream/bin/pip install --no-cache-dir '.[all]'

FROM ${BASE}
COPY --from=build /opt/intelstream /opt/intelstream
WORKDIR /var/lib/intelstream
COPY config config
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/intelstream intelstream \
    && install -d -m 0700 -o intelstream -g intelstream var
ENV PATH=/opt/intelstream/bin:$PATH INTELSTREAM_STATE_DIR=/var/lib/intelstream/var
USER intelstream
VOLUME /var/lib/intelstream/var
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["intelstream", "status", "--json"]
ENTRYPOINT ["intelstream"]
CMD ["run", "config/demo.yaml", "--log-format", "json"]

# One process, no root, state in /var/lib/intelstream, the pipeline in /etc/intelstream/pipeline.yaml.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python3 -m venv /opt/intelstream && /opt/intelstream/bin/pip install --no-cache-dir '.[all]'

FROM ${BASE}
COPY --from=build /opt/intelstream /opt/intelstream
COPY config/demo.yaml /etc/intelstream/pipeline.yaml
RUN useradd --system --uid 10001 --home-dir /var/lib/intelstream --create-home intelstream
ENV PATH=/opt/intelstream/bin:$PATH INTELSTREAM_STATE_DIR=/var/lib/intelstream/state
USER intelstream
WORKDIR /var/lib/intelstream
VOLUME /var/lib/intelstream
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["intelstream", "status", "--json"]
ENTRYPOINT ["intelstream"]
CMD ["run", "/etc/intelstream/pipeline.yaml", "--log-format", "json"]

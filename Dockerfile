# syntax=docker/dockerfile:1
# Three stages: "build" makes the wheels and an environment, "agent" is an example of an agent's container,
# and the last, the default, is the gate: unprivileged, configuration in /etc/claiim, state in /var/lib/claiim.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
# The dependencies first: they change less often than the code.
COPY requirements.txt requirements-dev.txt ./
# The driver for a Chron in PostgreSQL is no dependency of everybody's; its version is the tested one.
RUN python -m venv /opt/claiim \
 && /opt/claiim/bin/pip install --requirement requirements.txt --constraint requirements-dev.txt "psycopg[binary]"
COPY . .
RUN pip wheel --no-deps --wheel-dir /wheels . ./sdk \
 && /opt/claiim/bin/pip install --no-deps /wheels/claiim_gate-*.whl

FROM python:3.13-slim AS agent
# Only the SDK: nothing of the gate, and no key, is in an agent's container.
COPY --from=build /wheels/claiim-*.whl /tmp/
RUN pip install --no-deps --no-cache-dir --root-user-action=ignore /tmp/claiim-*.whl && rm /tmp/claiim-*.whl
RUN useradd --uid 10002 --create-home agent
USER agent
WORKDIR /home/agent
CMD ["python"]

FROM python:3.13-slim AS gate
# The folders belong to the user before they become volumes; a volume made from them inherits that.
RUN useradd --system --uid 10001 --home-dir /var/lib/claiim --shell /usr/sbin/nologin claiim \
 && install -d -o claiim -g claiim -m 0750 /etc/claiim /var/lib/claiim
COPY --from=build /opt/claiim /opt/claiim
ENV PATH=/opt/claiim/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CLAIIM_CONFIG=/etc/claiim/claiim.yaml \
    CLAIIM_STATE=/var/lib/claiim \
    CLAIIM_PROXY_LISTEN=0.0.0.0:8080 \
    CLAIIM_API_LISTEN=0.0.0.0:8181
USER claiim
WORKDIR /var/lib/claiim
VOLUME ["/var/lib/claiim"]
EXPOSE 8080 8181
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["claiim", "healthcheck"]
ENTRYPOINT ["claiim"]
CMD ["serve"]

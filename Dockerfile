# Parley for production: no embedded parts, so DB_URL, AUTH0_DOMAIN and AUTH0_API_IDENTIFIER must be set.
# scripts/dockerfile-check runs these steps without a container engine; it understands what is used here.

FROM python:3.13-slim-bookworm AS build
WORKDIR /srv/parley
RUN python -m venv .venv
COPY requirements.txt ./
RUN .venv/bin/python -m pip install --quiet --no-cache-dir --require-hashes --only-binary=:all: -r requirements.txt
COPY app app
COPY schema schema
COPY migrations migrations
COPY alembic.ini LICENSE ./
RUN .venv/bin/python -m compileall -q app schema migrations

# The official slim image brings ca-certificates: without them the issuer's certificate could not be checked.
FROM python:3.13-slim-bookworm
RUN useradd --system --no-create-home --shell /usr/sbin/nologin parley
WORKDIR /srv/parley
COPY --from=build /srv/parley ./
USER parley
ENV HOST=0.0.0.0 PORT=8000 PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD [".venv/bin/python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/healthz', timeout=2)"]
ENTRYPOINT [".venv/bin/python", "-m", "app"]
CMD ["serve"]

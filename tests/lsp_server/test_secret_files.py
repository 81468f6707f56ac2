from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from lsp_server.secret_files import is_secret

SECRETS = """
    .env .env.local .env.production prod.env .ENV .envrc server.pem tls.KEY id_rsa id_rsa.bak id_ed25519
    credentials credentials.json credentials.py .git-credentials .netrc _netrc .npmrc .pypirc .pgpass
    .htpasswd
    secrets.yaml db-secrets.toml app.secret secrets terraform.tfvars terraform.tfstate vault.kdbx key.p12
    client_secret_123.json service-account.json .aws/config home/.ssh/config .docker/config.json
    .bash_history
"""
OTHERS = """
    example.env .env.example .env.sample .env.template .env.dist .env.example.local environment.py env.py
    secrets.py keys.py monkey.py key.ts secret_santa.py config.json envs/a.py credentials/a.py secrets/a.py
    pem.py credentials.example.json .envoy.yaml id_rs.py a.key.py
"""


@pytest.mark.parametrize("path", SECRETS.split())
def test_secrets(path: str) -> None:
    assert is_secret(PurePosixPath("/work") / path)
    assert is_secret(PurePosixPath(path))


@pytest.mark.parametrize("path", OTHERS.split())
def test_no_secrets(path: str) -> None:
    assert not is_secret(PurePosixPath("/work") / path)

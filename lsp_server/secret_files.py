"""Files that hold secrets, by their names. Case does not matter.

Templates are no secrets: `.env.example` is there to be read. Source code that happens to be called
`secrets.py` is code; `credentials*` is kept out whatever it ends with, because such files exist in all forms.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePosixPath

_TEMPLATES = (
    "*.example", "*.sample", "*.template", "*.dist", "*.example.*", "*.sample.*", "*.template.*",
    "example.env", "sample.env", "template.env",
)  # fmt: skip
_NAMES = (
    ".env", ".env.*", "*.env", ".envrc", "*.tfvars", "*.tfvars.json", "*.tfstate", "*.tfstate.backup",
    "*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.pkcs12", "*.jks", "*.keystore", "*.ppk", "*.kdbx",
    "*.ovpn", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
    "credentials*", ".credentials*", ".git-credentials", "*.secret", "*.secrets", ".secrets",
    "client_secret*.json", "service-account*.json", "service_account*.json", "htpasswd",
    ".netrc", "_netrc", ".npmrc", ".yarnrc", ".yarnrc.yml", ".pypirc", ".pgpass", "pgpass.conf", ".my.cnf",
    ".htpasswd", ".dockercfg", ".dockerconfigjson", "kubeconfig", "*.kubeconfig", ".vault-token",
    ".vault_pass*", ".s3cfg", ".boto", ".terraformrc", ".msmtprc", ".mbsyncrc", ".fetchmailrc",
    "rclone.conf", ".rclone.conf",
    ".bash_history", ".zsh_history", ".sh_history", ".python_history", ".node_repl_history", ".psql_history",
    ".mysql_history", ".sqlite_history", ".rediscli_history",
)  # fmt: skip
_DATA_STEMS = ("secret", "secrets", "*-secret", "*-secrets", "*_secret", "*_secrets", "*.secret", "*.secrets")
_DATA_SUFFIXES = (
    "", ".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".properties", ".txt", ".xml", ".enc",
    ".csv",
)  # fmt: skip
_FOLDERS = {".ssh", ".gnupg", ".aws", ".azure", ".gcloud", ".kube", ".password-store", ".secrets"}


def is_secret(path: PurePosixPath) -> bool:
    """Whether a file of this name, or in a folder of this name, is taken to hold secrets."""
    name = path.name.lower()
    if name == "config.json" and path.parent.name == ".docker":
        return True
    if any(parent.name.lower() in _FOLDERS for parent in path.parents):
        return True
    if any(fnmatchcase(name, template) for template in _TEMPLATES):
        return False
    return any(fnmatchcase(name, pattern) for pattern in _NAMES) or _is_data(PurePosixPath(name))


def _is_data(name: PurePosixPath) -> bool:
    return name.suffix in _DATA_SUFFIXES and any(fnmatchcase(name.stem, stem) for stem in _DATA_STEMS)

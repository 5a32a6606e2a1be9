"""What the environment decides. Read once by the entry point of a process and handed on as an argument."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Self

from environs import Env, EnvError, ValidationError, validate

from schemas.enums import BalancerPolicy, DecodePlace
from store.addresses import Network, OutwardRules
from store.errors import SettingsError

MEBIBYTE = 1024 * 1024

#: How the names of variables end that hold a secret, or may; those of our own servers' addresses do too.
SECRET_ENDINGS = ("_AUTH", "PASSWORD", "_KEY", "_SECRET", "_TOKEN", "_KEYS", "_SECRETS")

#: Where `torchqueue up` keeps the key of the webhook secrets, within the folder of all state.
WEBHOOK_KEY_FILE = "webhook.key"

#: Names a folder that all processes of one machine share; the client library of Prometheus reads it.
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One process's configuration; `docs/operations.md` lists every variable.

    Attributes:
        database_url: SQLAlchemy URL of Postgres, driver psycopg2.
        redis_url: URL of Valkey or Redis: broker and reply channels.
        object_url: `file://` folder or `s3://` bucket for inputs and weights.
        var_dir: Folder for logs, keys and embedded servers.
        max_body_bytes: Largest accepted request body.
        max_upload_bytes: Largest accepted upload of a model's weights.
        max_pixels: Largest accepted picture, width times height.
        device_memory_mb: Memory of a device in MiB for the weights of its models; None: a share of what it has.
        retention_days: Age at which partitions of predictions are dropped.
        web_threads: Threads of one web process for photos and for Flask's views.
        web_processes: Web processes of the whole stack: each allows its part of a key's rate.
        max_queued: Predictions that may wait in all; the last fifth of the room is for interactive ones.
        max_queued_per_tenant: Predictions of one key that may wait, where the key says nothing else.
        inline: Whether web processes compute the models whose placement is `inline`.
        compute_threads: Threads inside one operation of an inference worker on a CPU. One, unless measured otherwise:
            the same cores decode and serve, and threads that wait for each other on a busy machine lose much.
        measure_layout: Whether an inference worker on a CPU measures, once it idles, how many workers of how many
            threads would answer most.
        training_threads: Threads inside one operation of a training on a CPU; half of the cores, so that answering has
            the others.
        balancer: How the worker is chosen that is rung.
        decode: Where pictures are decoded that no GPU decodes.
        metrics_public: Whether `/metrics` answers callers that are not on loopback.
        webhook_key: 32 bytes as base64, with which the secrets of webhook endpoints are encrypted; empty: nobody may
            make an endpoint.
        flower_auth: `user:password` for Flower; without it Flower does not start.
        flower_host: Address on which Flower listens.
        flower_port: Port on which Flower listens.
        log_level: Name of a level of the standard `logging` module.
        outward: What requests to strangers' URLs may reach beside the public internet on ports 80 and 443.
        plugins: Modules, or files ending in `.py`, with kinds and architectures of the user's own.
    """

    database_url: str
    redis_url: str
    object_url: str
    var_dir: Path
    max_body_bytes: int = 12 * MEBIBYTE
    max_upload_bytes: int = 1024 * MEBIBYTE
    max_pixels: int = 25_000_000
    device_memory_mb: int | None = None
    retention_days: int = 90
    web_threads: int = 64
    web_processes: int = 1
    max_queued: int = 250_000
    max_queued_per_tenant: int = 150_000
    inline: bool = False
    compute_threads: int = 1
    measure_layout: bool = False
    training_threads: int = 1
    balancer: BalancerPolicy = BalancerPolicy.LEARNED
    decode: DecodePlace = DecodePlace.SANDBOX
    metrics_public: bool = False
    webhook_key: str = field(default="", repr=False)
    flower_auth: str = ""
    flower_host: str = "127.0.0.1"
    flower_port: int = 5555
    log_level: str = "INFO"
    outward: OutwardRules = field(default_factory=OutwardRules)
    plugins: tuple[str, ...] = ()

    @property
    def retention(self) -> timedelta:
        """Age at which partitions of predictions are dropped."""
        return timedelta(days=self.retention_days)

    @classmethod
    def from_env(cls) -> Self:
        """Read the `TORCHQUEUE_*` variables of this process.

        Raises:
            SettingsError: A variable is missing or malformed.
        """
        env = Env(prefix="TORCHQUEUE_")
        try:
            var_dir = Path(env.str("VAR", "var")).resolve()
            return cls(
                database_url=env.str("DATABASE_URL"),
                redis_url=env.str("REDIS_URL"),
                object_url=env.str("OBJECT_URL", f"file://{var_dir / 'objects'}"),
                var_dir=var_dir,
                max_body_bytes=env.int("MAX_BODY_BYTES", cls.max_body_bytes),
                max_upload_bytes=env.int("MAX_UPLOAD_BYTES", cls.max_upload_bytes),
                max_pixels=env.int("MAX_PIXELS", cls.max_pixels),
                device_memory_mb=_optional_mb(env.str("DEVICE_MEMORY_MB", "")),
                retention_days=env.int("RETENTION_DAYS", cls.retention_days),
                web_threads=env.int("WEB_THREADS", cls.web_threads),
                web_processes=env.int("WEB_PROCESSES", cls.web_processes, validate=validate.Range(min=1)),
                max_queued=env.int("MAX_QUEUED", cls.max_queued, validate=validate.Range(min=1)),
                max_queued_per_tenant=env.int(
                    "MAX_QUEUED_PER_TENANT", cls.max_queued_per_tenant, validate=validate.Range(min=1)
                ),
                inline=env.bool("INLINE", cls.inline),
                compute_threads=env.int("COMPUTE_THREADS", cls.compute_threads, validate=validate.Range(min=1)),
                measure_layout=env.bool("MEASURE_LAYOUT", cls.measure_layout),
                training_threads=env.int("TRAINING_THREADS", _half_of_cores(), validate=validate.Range(min=1)),
                balancer=BalancerPolicy(env.str("BALANCER", cls.balancer, validate=_check_balancer)),
                decode=DecodePlace(env.str("DECODE", cls.decode, validate=_check_decode)),
                metrics_public=env.bool("METRICS_PUBLIC", cls.metrics_public),
                webhook_key=env.str("WEBHOOK_KEY", "")
                or _read_secret(Path(env.str("WEBHOOK_KEY_FILE", "") or var_dir / WEBHOOK_KEY_FILE)),
                flower_auth=env.str("FLOWER_AUTH", cls.flower_auth),
                flower_host=env.str("FLOWER_HOST", cls.flower_host),
                flower_port=env.int("FLOWER_PORT", cls.flower_port),
                log_level=env.str("LOG_LEVEL", cls.log_level, validate=_check_level),
                outward=OutwardRules(
                    networks=tuple(_network(text) for text in _words(env.str("OUTWARD_NETWORKS", ""))),
                    ports=frozenset(_port(text) for text in _words(env.str("OUTWARD_PORTS", ""))),
                ),
                plugins=plugins_from_env(),
            )
        except EnvError as error:
            raise SettingsError(f"{error}; `torchqueue up` sets it, docs/operations.md explains it") from error


def plugins_from_env() -> tuple[str, ...]:
    """Read `TORCHQUEUE_PLUGINS` alone, for a command that needs no servers. Files become absolute."""
    env = Env(prefix="TORCHQUEUE_")
    names = _words(env.str("PLUGINS", ""))
    return tuple(str(Path(name).resolve()) if name.endswith(".py") else name for name in names)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise SettingsError(f"TORCHQUEUE_OUTWARD_NETWORKS names {text!r}: write networks as 10.0.0.0/8") from error


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise SettingsError(f"TORCHQUEUE_OUTWARD_PORTS names {text!r}: write numbers of ports, with commas between")
    return int(text)


def _read_secret(path: Path) -> str:
    """Read a secret that is kept in a file of its own; empty where there is none."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise SettingsError(f"cannot read the secret in {path}: {error.strerror}") from error


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that reads what strangers send.

    Without any password, and without the addresses of our servers, which hold theirs.
    """
    return {
        name: value
        for name, value in environ.items()
        if not name.endswith(SECRET_ENDINGS) and not (name.startswith("TORCHQUEUE_") and name.endswith("_URL"))
    }


def _half_of_cores() -> int:
    return max(1, len(os.sched_getaffinity(0)) // 2)


def _check_balancer(name: str) -> None:
    if name not in list(BalancerPolicy):
        raise ValidationError(f"{name!r} is no balancer; use {', '.join(BalancerPolicy)}")


def _check_decode(name: str) -> None:
    if name not in list(DecodePlace):
        raise ValidationError(f"{name!r} is no place to decode in; use {' or '.join(DecodePlace)}")


def _check_level(name: str) -> None:
    if name.upper() not in logging.getLevelNamesMapping():
        raise ValidationError(f"{name!r} is no level; use DEBUG, INFO, WARNING or ERROR")


def _optional_mb(value: str) -> int | None:
    """Empty, as compose files hand on what is not set, means that the device decides."""
    if not value:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise SettingsError(f"TORCHQUEUE_DEVICE_MEMORY_MB is {value!r}: set a whole number of MiB, or leave it empty")
    return int(value)

"""`torchqueue up`: servers, schema, models, key, processes, and a first answer."""

import os
import secrets
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from ml.layouts import Layout
from stack.bootstrap import BUNDLED, ensure_admin_key, prepare_database
from stack.embedded import EmbeddedServer, create_database_if_missing, port_is_free, prepare_postgres, prepare_valkey
from stack.errors import NotRunningError, PortInUseError
from stack.layout import LayoutFollower, follow_measurement
from stack.plan import THREADS_VARIABLE, Plan, application_services, server_service
from stack.service import Service
from stack.state import ENV_FILE, forget_state, hold_lock, leftovers, read_state
from stack.supervisor import Supervisor
from stack.zygote import Zygote
from store.database import create_database
from store.objects import ObjectStore
from store.replies import connect_redis
from store.secret_box import ensure_key_file
from store.settings import MULTIPROCESS_VARIABLE, WEBHOOK_KEY_FILE, Settings
from tasks.doorbell import Doorbell
from tasks.maintenance import Maintenance
from tasks.successor import commit_left_behind, spool_folder

DATABASE_VARIABLE = "TORCHQUEUE_DATABASE_URL"
REDIS_VARIABLE = "TORCHQUEUE_REDIS_URL"
FLOWER_VARIABLE = "TORCHQUEUE_FLOWER_AUTH"
FLOWER_USER = "admin"

LEFTOVER_STOP_S = 10.0

# Passwords and addresses with passwords: for the owner alone.
PRIVATE_MODE = 0o600


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the operator gave on the command line."""

    var_dir: Path
    host: str
    port: int
    flower_port: int
    workers: int | None
    web_processes: int
    inline: bool = False
    models: Path = BUNDLED


@dataclass(frozen=True, kw_only=True)
class Running:
    """A stack that is up, for whoever announces it."""

    plan: Plan
    admin_key_file: Path
    imported: list[str]
    supervisor: Supervisor
    later: list[Service]


def run_stack(
    options: Options,
    say: Callable[[str], None],
    first_answer: Callable[[Path], str],
    announce: Callable[[Running, str], None],
) -> None:
    """Start the stack, announce it with a first answer, and keep it running until told to stop.

    Raises:
        StackError: It cannot start; nothing of it is left running.
    """
    options.var_dir.mkdir(parents=True, exist_ok=True)
    with hold_lock(options.var_dir):
        _end_leftovers(options.var_dir, say)
        for port, flag in ((options.port, "--port"), (options.flower_port, "--flower-port")):
            if not port_is_free(port, options.host):
                raise PortInUseError(f"port {port} is in use; stop what listens there or choose another with {flag}")
        env = {MULTIPROCESS_VARIABLE: _empty_metrics(options.var_dir)}
        with _supervised(options.var_dir, env, say) as supervisor:
            running = _start(options, supervisor, env, say)
            if not supervisor.stopping:
                answer = first_answer(options.var_dir)
                supervisor.launch(running.later)
                announce(running, answer)
            supervisor.run()
            say("stopping: draining what runs")


@contextmanager
def _supervised(var_dir: Path, env: dict[str, str], say: Callable[[str], None]) -> Iterator[Supervisor]:
    """Yield a supervisor whose processes are gone at the end, however that comes."""
    with closing(Zygote(var_dir / "log", env)) as zygote:
        supervisor = Supervisor(var_dir, say, zygote)
        supervisor.install_signal_handlers()
        try:
            yield supervisor
        finally:
            supervisor.stop()
            forget_state(var_dir)


def _start(options: Options, supervisor: Supervisor, env: dict[str, str], say: Callable[[str], None]) -> Running:
    _start_servers(options.var_dir, supervisor, say)
    os.environ.setdefault(FLOWER_VARIABLE, f"{FLOWER_USER}:{_kept_password(options.var_dir / 'flower.password')}")
    os.environ["TORCHQUEUE_VAR"] = str(options.var_dir)
    ensure_key_file(options.var_dir / WEBHOOK_KEY_FILE)
    os.environ["TORCHQUEUE_FLOWER_PORT"] = str(options.flower_port)
    settings = Settings.from_env()
    database = create_database(settings.database_url, application="supervisor", pool_size=2)
    imported = prepare_database(database, ObjectStore(settings.object_url), options.models)
    plan = _plan(options, settings, database, say)
    supervisor.on_death = _claim_releaser(settings, database, say)
    key_file = ensure_admin_key(database, options.var_dir)
    _write_env(options.var_dir, settings)
    supervisor.newcomers = LayoutFollower(plan, database, env, say)
    services = application_services(plan, database, env)
    # First what answers requests: on two cores, starting everything at once would take half as long again.
    supervisor.start([service for service in services if service.essential])
    supervisor.announce(plan.url)
    return Running(
        plan=plan,
        admin_key_file=key_file,
        imported=imported,
        supervisor=supervisor,
        later=[service for service in services if not service.essential],
    )


def _plan(options: Options, settings: Settings, database: Database, say: Callable[[str], None]) -> Plan:
    plan = Plan(
        settings=settings,
        host=options.host,
        port=options.port,
        workers=options.workers,
        layout=Layout(processes=1, threads=settings.compute_threads),
        web_processes=options.web_processes,
        inline=options.inline or settings.inline,
    )
    decided = options.workers is not None or THREADS_VARIABLE in os.environ
    return plan if decided else follow_measurement(plan, database, say)


def _start_servers(var_dir: Path, supervisor: Supervisor, say: Callable[[str], None]) -> None:
    """Start the servers that no variable points elsewhere for."""
    servers: list[EmbeddedServer] = []
    postgres = None
    if DATABASE_VARIABLE not in os.environ:
        postgres = prepare_postgres(var_dir / "postgres")
        servers.append(postgres)
        os.environ[DATABASE_VARIABLE] = postgres.url
    if REDIS_VARIABLE not in os.environ:
        valkey = prepare_valkey(var_dir / "valkey")
        servers.append(valkey)
        os.environ[REDIS_VARIABLE] = valkey.url
    if servers:
        say(f"starting embedded {' and '.join(server.name for server in servers)}")
        supervisor.start([server_service(server) for server in servers])
    if postgres is not None and not supervisor.stopping:
        create_database_if_missing(postgres.url)


def _claim_releaser(settings: Settings, database: Database, say: Callable[[str], None]) -> Callable[[int], None]:
    """Make what gives back at once a dead worker's claims, rather than when its lease runs out."""
    replies = connect_redis(settings.redis_url)
    maintenance = Maintenance(database, replies, Doorbell(settings.redis_url), settings.retention)

    def release(pid: int) -> None:
        try:
            # First: what it had finished need not be computed again.
            commit_left_behind(database, replies, spool_folder(settings.var_dir))
            maintenance.release_dead_worker(socket.gethostname(), pid)
        except SQLAlchemyError:
            say("Postgres is away: the dead worker's claims are taken back when its lease runs out")

    return release


def _end_leftovers(var_dir: Path, say: Callable[[str], None]) -> None:
    """End what a stack left running that was itself killed. We hold the lock, so no living stack owns them."""
    try:
        processes = leftovers(read_state(var_dir))
    except NotRunningError:
        return
    if not processes:
        return
    say(f"ending {len(processes)} processes that a killed stack left behind")
    for process in processes:
        # Postgres calls SIGINT its fast shutdown; the others may have been started with it ignored.
        process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
    _, stubborn = psutil.wait_procs(processes, timeout=LEFTOVER_STOP_S)
    for process in stubborn:
        process.kill()
    psutil.wait_procs(stubborn, timeout=LEFTOVER_STOP_S)


def _write_env(var_dir: Path, settings: Settings) -> None:
    """Write the addresses for commands that run beside the stack, such as `torchqueue keys`."""
    path = var_dir / ENV_FILE
    path.touch(mode=PRIVATE_MODE)
    lines = {
        "TORCHQUEUE_DATABASE_URL": settings.database_url,
        "TORCHQUEUE_REDIS_URL": settings.redis_url,
        "TORCHQUEUE_OBJECT_URL": settings.object_url,
        "TORCHQUEUE_PLUGINS": ",".join(settings.plugins),
        "TORCHQUEUE_WEBHOOK_KEY_FILE": str(var_dir / WEBHOOK_KEY_FILE),
    }
    path.write_text("".join(f"{name}='{value}'\n" for name, value in lines.items()))


def _kept_password(path: Path) -> str:
    if not path.exists():
        path.touch(mode=PRIVATE_MODE)
        path.write_text(secrets.token_urlsafe(18) + "\n")
    return path.read_text().strip()


def _empty_metrics(var_dir: Path) -> str:
    """Make the folder that the web processes share their counters in, without those of processes long gone."""
    folder = var_dir / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return str(folder)

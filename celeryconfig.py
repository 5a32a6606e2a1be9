"""Celery's settings, each non-default one with its why. Addresses come from `store.settings`, not from here.

Postgres is the queue; a message is a doorbell that anyone may lose. So everything that Celery offers to keep
messages or results safe is off, and what keeps its connections healthy is on.
"""

from schemas.names import QueueName, TaskName

# A doorbell needs no redelivery: the row that it points at is found without it.
task_acks_late = False

# Results live in Postgres. A result backend would store each a second time and time it out.
task_ignore_result = True

# Never pickle: a message must not be able to carry code.
accept_content = ["json"]
task_serializer = "json"

# Beat's jobs are all maintenance.
task_default_queue = QueueName.MAINTENANCE

# A worker takes one doorbell at a time, so that others can answer the next.
worker_prefetch_multiplier = 1

# After a reconnect Celery would lower the prefetch count below one batch and stall (celery#10335).
worker_enable_prefetch_count_reduction = False

# A broken broker connection is no reason to throw away good work; the result goes to Postgres.
worker_cancel_long_running_tasks_on_connection_loss = False

# Valkey may start after us, and may be away for any time: never give up on it.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None

# A Valkey that became a replica, or is out of memory, refuses a command without closing the connection. By default
# that ends the worker; it is to connect again until the command is taken.
broker_channel_error_retry = True

# Events that nobody reads (no Flower) must not fill Valkey.
event_queue_ttl = 5.0
event_queue_expires = 60.0

# Our own structured logging is set up by the entry points.
worker_hijack_root_logger = False

timezone = "UTC"

broker_transport_options = {
    # Doorbells are acknowledged on arrival; a minute is ample for the few that were in between.
    "visibility_timeout": 60,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    # A dead holder of the restore lock blocks restoring for this long; the default is five minutes.
    "unacked_mutex_expire": 10,
    # Must exceed the one second of a blocking pop; without it a closed connection blocks for ever (kombu#1785).
    "socket_timeout": 5,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    "health_check_interval": 5,
    # Two applications on one Valkey would else consume each other's messages.
    "global_keyprefix": "torchqueue:",
    "queue_order_strategy": "round_robin",
}

# The sender is on the request path's way: a broker that is down or frozen may cost it this much, no more. One that
# answers takes 0.3 ms.
PUBLISHER_TRANSPORT_OPTIONS = {
    **broker_transport_options,
    "socket_timeout": 0.05,
    "socket_connect_timeout": 0.05,
    "max_retries": 0,
}

beat_schedule = {
    # One message for all that is due every second: to send and to receive one costs more than most of these jobs do.
    "tend-queue": {"task": TaskName.TEND_QUEUE, "schedule": 1.0, "options": {"expires": 5}},
    "tend-trainings": {"task": TaskName.TEND_TRAININGS, "schedule": 2.0, "options": {"expires": 5}},
    # The least pause of a cron line is a minute; this is by how much one may be late.
    "retrain-models": {"task": TaskName.RETRAIN_MODELS, "schedule": 5.0, "options": {"expires": 10}},
    # Looks at every indexed item, 40 ms for 60,000; it finds some after a promotion, else none.
    "refresh-indexes": {"task": TaskName.REFRESH_INDEXES, "schedule": 15.0, "options": {"expires": 15}},
    # Reads the latest answers of each champion, some 20 ms each; an alarm is no sooner worth while.
    "check-drift": {"task": TaskName.CHECK_DRIFT, "schedule": 15.0, "options": {"expires": 15}},
    # Finds nothing, unless the process that forgot an item died, or the object store was away.
    "remove-forgotten": {"task": TaskName.REMOVE_FORGOTTEN, "schedule": 60.0, "options": {"expires": 60}},
    # Finds versions whose judge died; as a rule there are none.
    "judge-waiting": {"task": TaskName.JUDGE_WAITING, "schedule": 60.0, "options": {"expires": 60}},
    # What it warns of grows over minutes, and nobody mends it faster.
    "check-postgres": {"task": TaskName.CHECK_POSTGRES, "schedule": 60.0, "options": {"expires": 60}},
    "maintain-partitions": {"task": TaskName.MAINTAIN_PARTITIONS, "schedule": 3600.0},
    "purge-idempotency-keys": {"task": TaskName.PURGE_IDEMPOTENCY_KEYS, "schedule": 3600.0},
    "purge-deliveries": {"task": TaskName.PURGE_DELIVERIES, "schedule": 3600.0},
}

# The default store is a file in the working folder; beat's schedule is constant, so nothing needs to survive.
beat_scheduler = "celery.beat:Scheduler"

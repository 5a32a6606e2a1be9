"""Webhook endpoints and deliveries as tests need them, through one connection."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text
from sqlalchemy.orm import Session

from schemas.enums import Scope, WebhookEvent, WorkerRole
from store.keys import create_key
from store.secret_box import SecretBox
from store.tables.webhook import WebhookEndpoint
from store.webhooks import create_endpoint
from store.workers import register_worker
from tests.factories import HOST
from tests.sinks import WEBHOOK_KEY

BOX = SecretBox(WEBHOOK_KEY)

URL = "https://shop.example.com/hooks"

EVERY_END = [event for event in WebhookEvent if event.is_own]


class Hooks:
    """Endpoints of one key, and what is to be sent to them.

    Args:
        connection: Rolled back by its fixture, or autocommit.

    Attributes:
        api_key_id: The key.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        with Session(connection, join_transaction_mode="rollback_only") as session:
            self.api_key_id = create_key(session, name="hooks", scopes=[Scope.PREDICT, Scope.READ])[0].id
            session.commit()
        self.secrets: dict[UUID, str] = {}

    def add(self, *events: WebhookEvent, url: str = URL) -> UUID:
        """Make an endpoint; returns its id."""
        with Session(self.connection, join_transaction_mode="rollback_only", expire_on_commit=False) as session:
            row, secret = create_endpoint(
                session, BOX, api_key_id=self.api_key_id, url=url, description="", events=events
            )
            session.commit()
        self.secrets[row.id] = secret
        return row.id

    def write(self, endpoint_id: UUID, *subjects: str) -> list[UUID]:
        """Write deliveries, due at once; returns their ids."""
        return [
            self.connection.execute(
                text(
                    "INSERT INTO webhook_deliveries (endpoint_id, event, subject_id, payload)"
                    " VALUES (:endpoint, 'prediction.succeeded', :subject, '{\"type\": \"prediction.succeeded\"}')"
                    " RETURNING id"
                ),
                {"endpoint": endpoint_id, "subject": subject},
            ).scalar_one()
            for subject in subjects
        ]

    def written(self) -> Sequence[Row[Any]]:
        """Read all deliveries of the key, the first one first."""
        return self.connection.execute(
            text(
                "SELECT d.* FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id"
                " WHERE e.api_key_id = :key ORDER BY d.id"
            ),
            {"key": self.api_key_id},
        ).all()

    def get(self, delivery_id: UUID) -> Row[Any]:
        """Read a delivery."""
        return self.connection.execute(
            text("SELECT * FROM webhook_deliveries WHERE id = :id"), {"id": delivery_id}
        ).one()

    def endpoint(self, endpoint_id: UUID) -> Row[Any]:
        """Read an endpoint."""
        return self.connection.execute(
            text("SELECT * FROM webhook_endpoints WHERE id = :id"), {"id": endpoint_id}
        ).one()

    def attempts(self, delivery_id: UUID) -> Sequence[Row[Any]]:
        """Read the attempts of a delivery, the first one first."""
        return self.connection.execute(
            text("SELECT * FROM webhook_attempts WHERE delivery_id = :id ORDER BY number"), {"id": delivery_id}
        ).all()

    def set(self, endpoint_id: UUID, **values: str) -> None:
        """Set columns of an endpoint to SQL expressions."""
        changes = ", ".join(f"{column} = {value}" for column, value in values.items())
        self.connection.execute(
            text(f"UPDATE {WebhookEndpoint.__tablename__} SET {changes} WHERE id = :id"), {"id": endpoint_id}
        )

    def sender(self, pid: int = 7) -> int:
        """Register a delivery worker; returns its epoch."""
        return register_worker(
            self.connection,
            name=f"delivery@{HOST}",
            role=WorkerRole.DELIVERY,
            device="cpu:0",
            queue="",
            host=HOST,
            pid=pid,
        )

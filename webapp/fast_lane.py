"""The web process's ASGI application: the hot operation in the event loop, everything else by Flask in threads.

A request that waits for its answer costs no thread here, so thousands may wait, and answers that are committed
together wake their requests with one call. `POST /v1/models/{model}/predictions` is read by the same functions as in
Flask's view, which stays the contract; a test compares both. Whatever this will not take, and every refusal, goes
through Flask, which alone knows how to refuse. See docs/decisions/0009-event-loop.md.
"""

import asyncio
import io
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import orjson
from a2wsgi import WSGIMiddleware
from a2wsgi.asgi_typing import Receive, Scope, Send
from a2wsgi.wsgi_typing import WSGIApp
from flask import Flask, Request, Response, g
from uuid_utils import uuid7

from schemas.enums import Scope as KeyScope
from schemas.problems import CONTENT_TYPE as PROBLEM_TYPE
from store.keys import Principal
from webapp.answering import answer, finished_body
from webapp.asgi import as_coroutine, build_environ, encode_headers, read_body, send_response
from webapp.auth import authenticate, read_key
from webapp.bodies import Body, JsonBody, is_json
from webapp.error_answers import describe, note
from webapp.headers import CLOSING, REQUEST_ID_HEADER, SECURITY_HEADERS
from webapp.lane_arguments import Arguments, is_hot, read_arguments
from webapp.loop_signal import LoopWaker
from webapp.metrics import REQUESTS
from webapp.requests import Prepared, admit_early, prepare, run, run_in_loop
from webapp.services import Services

#: What the view is called in the metrics.
ENDPOINT = "predictions.PredictionCreateViews"

#: A body up to this size is read in the event loop; hashing and storing a larger one would keep all others waiting.
LIGHT_BYTES = 64 * 1024

RESPONSE_HEADERS = [
    (name.lower().encode(), value.encode())
    for name, value in {"Content-Type": "application/json", **SECURITY_HEADERS}.items()
]

REQUEST_ID = REQUEST_ID_HEADER.lower().encode()

CLOSING_HEADERS = [*RESPONSE_HEADERS, (CLOSING[0].lower().encode(), CLOSING[1].encode())]


@dataclass(frozen=True, slots=True)
class Entered:
    """A request that was let in.

    Attributes:
        caller: Who sent it.
        admitted: Whether there is room for it; False where only its body tells whether it needs any.
    """

    caller: Principal
    admitted: bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request on its way to an answer; `size` in bytes, `started` by `time.perf_counter`."""

    environ: dict[str, Any]
    arguments: Arguments
    size: int
    entered: Entered
    started: float


class FastLane:
    """ASGI application in front of a Flask application.

    Args:
        app: Answers what this does not.
        services: Collaborators of its views.

    Attributes:
        services: The same.
    """

    def __init__(self, app: Flask, services: Services) -> None:
        self._app = app
        self.services = services
        threads = services.settings.web_threads
        self._flask = WSGIMiddleware(cast("WSGIApp", app.wsgi_app), workers=threads)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="lane")
        # Bodies wait here, not in memory: no more are read than threads can take.
        self._reading = asyncio.Semaphore(threads)
        self._waker: LoopWaker | None = None
        self._succeeded = REQUESTS.labels(ENDPOINT, 200)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        environ = build_environ(scope) if scope["type"] == "http" and is_hot(scope["method"], scope["path"]) else {}
        size = self._size(environ)
        arguments = None if size is None else read_arguments(environ)
        if size is None or arguments is None:
            await self._flask(scope, as_coroutine(receive), send)
            return
        started = time.perf_counter()
        entered = await self._enter(environ, arguments)
        if isinstance(entered, Exception):
            await self._turn_away(send, entered, environ, started)
            return
        try:
            await self._serve(Exchange(environ, arguments, size, entered, started), receive, send)
        finally:
            self.services.meters.leave(entered.caller)

    async def _enter(self, environ: dict[str, Any], arguments: Arguments) -> Entered | Exception:
        """Let a request in before its body is read, here where that takes no time to speak of."""
        try:
            if self._is_known(environ, arguments):
                return self._admit(environ, arguments)
            entered: Entered = await self._in_thread(self._admit, environ, arguments)
        # Every error is answered by the map, or by Flask's own handlers, the last of which takes any.
        except Exception as error:  # noqa: BLE001
            return error
        return entered

    def _admit(self, environ: dict[str, Any], arguments: Arguments) -> Entered:
        services = self.services
        key = read_key(environ.get("HTTP_AUTHORIZATION", ""))
        services.watch.check()
        caller = authenticate(services.keys, key, KeyScope.PREDICT)
        services.meters.enter(caller)
        try:
            return Entered(caller, admit_early(services, caller, model=arguments.model, query=arguments.query))
        except BaseException:
            # Also when this thread is told to end: a caller that stays entered would use up its concurrency for ever.
            services.meters.leave(caller)
            raise

    async def _turn_away(self, send: Send, error: Exception, environ: dict[str, Any], started: float) -> None:
        """Refuse a request whose body was not read. What is refused under load must not cost Flask's time."""
        answer = describe(error)
        if answer is None:
            response = await self._in_thread(self._in_flask, environ, started, partial(self._refuse, error))
            await _send_flasks(send, response)
            return
        note(error, answer)
        named = {REQUEST_ID_HEADER: uuid7().hex}
        headers = {"Content-Type": PROBLEM_TYPE, **answer.headers, **SECURITY_HEADERS, **named}
        if self.services.draining.is_on():
            headers |= [CLOSING]
        await send_response(send, answer.status, encode_headers(headers.items()), orjson.dumps(answer.document))
        REQUESTS.labels(ENDPOINT, answer.status).observe(time.perf_counter() - started)

    async def _serve(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        environ, started = exchange.environ, exchange.started
        async with nullcontext() if exchange.size <= LIGHT_BYTES else self._reading:
            body = await read_body(receive)
            environ["wsgi.input"] = io.BytesIO(body)
            prepared = await self._prepare_in_place(exchange, body)
        respond = await self._answer(prepared)
        if not callable(respond):
            # The request is found in the logs by the prediction's own id: nothing more need be made up.
            named = (REQUEST_ID, str(respond["id"]).encode())
            headers = CLOSING_HEADERS if self.services.draining.is_on() else RESPONSE_HEADERS
            await send_response(send, 200, [*headers, named], orjson.dumps(respond))
            self._succeeded.observe(time.perf_counter() - started)
            return
        response = await self._in_thread(self._in_flask, environ, started, respond)
        await _send_flasks(send, response)

    def _size(self, environ: dict[str, Any]) -> int | None:
        """Bytes of the body; None where they are not known, or too many: such a body only Flask reads safely."""
        length = environ.get("CONTENT_LENGTH", "")
        size = int(length) if length.isdecimal() else math.inf
        return int(size) if size <= self.services.settings.max_body_bytes else None

    async def _prepare_in_place(self, exchange: Exchange, body: bytes) -> Prepared | Exception:
        """Prepare here what is light, and in a thread what is not; an error is Flask's to tell."""
        try:
            if exchange.size <= LIGHT_BYTES and self._is_light(exchange.environ, exchange.arguments):
                return self._prepare(exchange, JsonBody(body))
            prepared: Prepared = await self._in_thread(self._prepare_in_thread, exchange)
        # Every error is answered by Flask's own handlers, the last of which takes any.
        except Exception as error:  # noqa: BLE001
            return error
        return prepared

    async def _answer(self, prepared: Prepared | Exception) -> dict[str, Any] | Callable[[], Any]:
        """Return the finished prediction, or what Flask is to respond with."""
        if isinstance(prepared, Exception):
            return partial(self._refuse, prepared)
        ticket = prepared.ticket
        try:
            if prepared.sha256 is None:
                await run_in_loop(self.services, prepared, self._loop_waker())
            else:
                await self._in_thread(run, self.services, prepared)
            found = finished_body(ticket)
        # Every error is answered by Flask's own handlers, the last of which takes any.
        except Exception as error:  # noqa: BLE001
            return partial(self._refuse, error)
        return partial(answer, self.services, ticket) if found is None else found

    def _is_known(self, environ: dict[str, Any], arguments: Arguments) -> bool:
        """Whether letting it in reads nothing from the database."""
        key = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ").strip()
        return self.services.models.knows(arguments.model, arguments.query["version"]) and self.services.keys.knows(key)

    def _is_light(self, environ: dict[str, Any], arguments: Arguments) -> bool:
        """Whether preparing takes no time to speak of: it reads neither a picture nor the database."""
        # Naming a webhook takes a look at the database, now and then.
        is_plain = is_json(environ.get("CONTENT_TYPE", "")) and arguments.query["webhook"] is None
        return is_plain and self.services.models.knows(arguments.model, arguments.query["version"])

    def _prepare_in_thread(self, exchange: Exchange) -> Prepared:
        # Closed at the end, as Flask would: the parts of a form are files.
        with closing(self._request(exchange.environ)) as request:
            return self._prepare(exchange, request)

    def _prepare(self, exchange: Exchange, body: Body) -> Prepared:
        return prepare(
            self.services,
            body,
            exchange.entered.caller,
            model=exchange.arguments.model,
            query=exchange.arguments.query,
            headers=exchange.arguments.headers,
            admitted=exchange.entered.admitted,
        )

    def _loop_waker(self) -> LoopWaker:
        loop = asyncio.get_running_loop()
        if self._waker is None or self._waker.loop is not loop:
            self._waker = LoopWaker(loop)
        return self._waker

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _request(self, environ: dict[str, Any]) -> Request:
        """The request with the limits that Flask would give it."""
        request = Request(environ)
        request.max_content_length = self._app.config["MAX_CONTENT_LENGTH"]
        request.max_form_parts = self._app.config["MAX_FORM_PARTS"]
        request.max_form_memory_size = self._app.config["MAX_FORM_MEMORY_SIZE"]
        return request

    def _in_flask(self, environ: dict[str, Any], started: float, respond: Callable[[], Any]) -> Response:
        with self._app.request_context(environ):
            g.started_at = started
            try:
                response = self._app.make_response(respond())
            # Presenting may fail as well, and that too is Flask's handlers' to answer.
            except Exception as error:  # noqa: BLE001
                response = self._refuse(error)
            return self._app.process_response(response)

    def _refuse(self, error: Exception) -> Response:
        response: Response = self._app.make_response(self._app.handle_user_exception(error))
        return response


async def _send_flasks(send: Send, response: Response) -> None:
    headers = encode_headers(response.headers.items())
    await send_response(send, response.status_code, headers, response.get_data())

"""Each listener answers what it is for, and a second party gets nothing from either, call by call."""

import asyncio
import re

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from flwr.common.constant import ACCESS_TOKEN_KEY
from flwr.supercore.constant import TASK_TOKEN_HEADER
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

from terrycloth.models.errors import UserError
from terrycloth.server.link.listeners import (
    MOST_BODY,
    Listening,
    TokenPlugin,
    allowed,
    make_app,
    new_token,
    read_token,
)

DEVICES, OPERATOR, ELSEWHERE = 9092, 9093, 9094
PROTOBUF = {"content-type": PROTOBUF_MEDIA_TYPE, "accept": PROTOBUF_MEDIA_TYPE}
CLOSED = {401, 404}


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    token = tmp_path_factory.mktemp("link") / "operator.token"
    new_token(token)
    return make_app(
        Listening(
            devices=("127.0.0.1", DEVICES), operator=("127.0.0.1", OPERATOR), certificate=None, key=None,
            authority=None, token=token, database=None,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def routes(gate) -> list[tuple[str, str]]:
    """Every method and path that Flower serves, those of later versions too."""
    found = []
    for context in iter_route_contexts(gate.app.routes):
        path = re.sub(r"{[^}]*}", "1", getattr(context, "path", None) or context.route.path)
        found += [(method, path) for method in getattr(context.route, "methods", None) or {"GET"}]
    assert len(found) > 60, "Flower's routes were not found"
    return found


def statuses(gate, port: int, calls: list[tuple[str, str]], headers: dict[str, str]) -> dict[str, int]:
    async def ask() -> dict[str, int]:
        transport = httpx.ASGITransport(app=gate, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{port}") as client:
            return {
                path: (
                    await client.request(method, path, content=b"", headers=PROTOBUF | headers)
                ).status_code
                for method, path in calls
            }

    return asyncio.run(ask())


@pytest.mark.slow
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer guessed"}, {TASK_TOKEN_HEADER: "guessed"}])
def test_a_second_party_gets_401_or_404_on_every_call_of_both_listeners(gate, routes, headers):
    for port in (DEVICES, OPERATOR, ELSEWHERE):
        answered = statuses(gate, port, routes, headers)
        opened = {path: status for path, status in answered.items() if status not in CLOSED}
        assert opened == ({} if port == ELSEWHERE else {"/health": 200}), port


@pytest.mark.slow
def test_devices_reach_the_fleet_interface_and_nothing_else(gate, routes):
    answered = statuses(gate, DEVICES, routes, {})
    reached = {path for path, status in answered.items() if status != 404}
    assert reached == {path for _, path in routes if path.startswith("/v1/fleet/")} | {"/health"}


@pytest.mark.slow
def test_the_token_opens_the_control_interface_to_the_operator_alone(gate):
    plugin = gate.app.state.account_access_dep.authn_plugin
    assert isinstance(plugin, TokenPlugin)
    bearer = {"authorization": f"Bearer {plugin.token.decode()}"}
    calls = [("POST", "/v1/control/list-runs"), ("POST", "/v1/control/list-nodes")]
    assert set(statuses(gate, OPERATOR, calls, bearer).values()) == {200}
    assert set(statuses(gate, DEVICES, calls, bearer).values()) == {404}


@pytest.mark.slow
def test_a_body_that_is_too_large_or_of_no_stated_length_is_refused_before_it_is_read(gate):
    def unread():
        raise AssertionError("read")
        yield b""

    async def ask(headers: dict[str, str]) -> int:
        scope = {
            "type": "http", "method": "POST", "path": "/v1/fleet/push-object",
            "server": ("127.0.0.1", DEVICES),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip
        sent = []

        async def send(message):
            sent.append(message)

        await gate(scope, unread, send)
        return sent[0]["status"]

    assert asyncio.run(ask({"content-length": str(MOST_BODY + 1)})) == 413
    assert asyncio.run(ask({"transfer-encoding": "chunked"})) == 413


@pytest.mark.parametrize("path", ["/v1/fleet/../control/list-runs", "//v1/control/list-runs", "/V1/x"])
def test_no_spelling_of_a_path_passes(path):
    assert allowed(path, to_devices=True) == path.startswith("/v1/fleet/")  # which Flower then does not know
    assert not allowed("/v1/control/list-runs", to_devices=True)


def test_a_token_that_others_can_read_is_refused(tmp_path):
    token = tmp_path / "token"
    new_token(token)
    assert len(read_token(token)) == 64
    token.chmod(0o640)
    with pytest.raises(UserError, match="other users can read"):
        read_token(token)


@pytest.mark.parametrize("text", ["", "short", "ä" * 64])
def test_a_file_that_holds_no_token_is_refused(tmp_path, text):
    token = tmp_path / "token"
    token.write_text(text)
    token.chmod(0o600)
    with pytest.raises(UserError, match="token"):
        read_token(token)


def test_the_plugin_compares_the_whole_token():
    plugin = TokenPlugin("a" * 64)
    given = [("a" * 64, True), ("a" * 63, False), ("", False), ("ä", False)]
    for token, accepted in given:
        valid, account = plugin.validate_tokens_in_metadata([(ACCESS_TOKEN_KEY, token)])
        assert (valid, account is not None) == (accepted, accepted)

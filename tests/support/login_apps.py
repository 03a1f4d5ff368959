"""Small real FastAPI services, one for each way to log in that such services have, served in this process."""

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.security import APIKeyHeader, OAuth2PasswordBearer, OAuth2PasswordRequestFormStrict
from starlette.middleware.sessions import SessionMiddleware

USER, PASSWORD, KEY = "smoke", "p&ss=w+rd €", "k3y-of-the-smoke-test"


class Faults:
    """What a test breaks in a service that runs."""

    def __init__(self) -> None:
        self.lets_in_anybody = self.lets_in_any_password = False
        self.open_sessions: set[str] = set()


def _new() -> FastAPI:
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/items")
    def items() -> list[dict[str, Any]]:
        return [{"id": 1, "name": "first"}]

    return app


def _session(faults: Faults, password: str, user: str = USER) -> str:
    """The id of a new session; raises 401 for a wrong password."""
    if not faults.lets_in_any_password and (user, password) != (USER, PASSWORD):
        raise HTTPException(401, "wrong")
    token = secrets.token_hex(8)
    faults.open_sessions.add(token)
    return token


def _known(faults: Faults, token: str | None) -> dict[str, str]:
    if not faults.lets_in_anybody and token not in faults.open_sessions:
        raise HTTPException(401, "who?")
    return {"user": USER}


def form(faults: Faults) -> FastAPI:
    """OAuth2's password flow, as strictly as FastAPI has it."""
    app, scheme = _new(), OAuth2PasswordBearer("/token", auto_error=False)

    @app.post("/token")
    def token(given: Annotated[OAuth2PasswordRequestFormStrict, Depends()]) -> dict[str, str]:
        return {"access_token": _session(faults, given.password, given.username), "token_type": "bearer"}

    @app.get("/users/me/")
    def me(token: Annotated[str | None, Depends(scheme)]) -> dict[str, str]:
        return _known(faults, token)

    return app


def json(faults: Faults) -> FastAPI:
    """Fields of its own, the token deep in the answer, another scheme in the header, and a way to log out."""
    app = _new()

    @app.post("/api/login")
    def login(given: dict[str, str]) -> dict[str, Any]:
        if given.get("tenant") != "t1":
            raise HTTPException(422, "no tenant")
        return {"data": {"tokens": [{"value": _session(faults, given["pass"], given["email"])}]}}

    @app.get("/api/me")
    def me(request: Request) -> dict[str, str]:
        return _known(faults, request.headers.get("authorization", "").removeprefix("Token "))

    @app.post("/api/logout")
    def logout(request: Request) -> None:
        faults.open_sessions.remove(request.headers["authorization"].removeprefix("Token "))

    return app


def page(faults: Faults) -> FastAPI:
    """A page with a form and a hidden token; who is not logged in is sent to it, and a wrong password gets it again."""
    app = _new()
    app.add_middleware(SessionMiddleware, secret_key="of a test")

    def form(request: Request, said: str = "") -> HTMLResponse:
        token = request.session.setdefault("csrf", secrets.token_hex(8))
        return HTMLResponse(f'<p>{said}</p><form><input type=hidden name="csrf_token" value="{token}"></form>')

    @app.get("/login")
    def show(request: Request) -> HTMLResponse:
        return form(request)

    @app.post("/login")
    def login(
        request: Request, username: Annotated[str, Form()], password: Annotated[str, Form()],
        csrf_token: Annotated[str, Form()],
    ) -> Response:  # fmt: skip
        if csrf_token != request.session.get("csrf"):
            raise HTTPException(403, "CSRF")
        try:
            request.session["id"] = _session(faults, password, username)
        except HTTPException:
            return form(request, "Wrong user or password")
        return RedirectResponse("/", 303)

    @app.get("/profile")
    def me(request: Request) -> Response:
        try:
            _known(faults, request.session.get("id"))
        except HTTPException:
            return RedirectResponse("/login", 303)
        return HTMLResponse("you")

    return app


def double_submit(faults: Faults) -> FastAPI:
    """A JSON login that sets a Secure cookie; what writes must send a token back in a header that came as a cookie."""
    app = _new()

    def refuse_forged(request: Request) -> None:
        if not request.cookies.get("XSRF-TOKEN") or request.cookies["XSRF-TOKEN"] != request.headers.get(
            "X-XSRF-TOKEN"
        ):
            raise HTTPException(403, "CSRF")

    @app.get("/csrf")
    def csrf(response: Response) -> None:
        response.set_cookie("XSRF-TOKEN", secrets.token_hex(8), secure=True, samesite="strict")

    @app.post("/session", status_code=204, dependencies=[Depends(refuse_forged)])
    def login(response: Response, given: dict[str, str]) -> None:
        response.set_cookie("sid", _session(faults, given["password"], given["username"]), secure=True, httponly=True)
        response.set_cookie("XSRF-TOKEN", secrets.token_hex(8), secure=True)

    @app.get("/session")
    def me(request: Request) -> dict[str, str]:
        return _known(faults, request.cookies.get("sid"))

    @app.post("/session/end", dependencies=[Depends(refuse_forged)])
    def logout(request: Request) -> None:
        faults.open_sessions.remove(request.cookies["sid"])

    @app.post("/items", status_code=201, dependencies=[Depends(refuse_forged)])
    def make(request: Request, given: dict[str, str]) -> dict[str, Any]:
        _known(faults, request.cookies.get("sid"))
        return {"made": {"name": given["name"], "tags": ["a", "b"]}}

    return app


def key(faults: Faults) -> FastAPI:
    """A key that was issued, in a header of its own."""
    app, scheme = _new(), APIKeyHeader(name="X-API-Key", auto_error=False)

    @app.get("/whoami")
    def me(given: Annotated[str | None, Depends(scheme)]) -> dict[str, str]:
        if given != KEY and not faults.lets_in_anybody:
            raise HTTPException(403, "who?")
        return {"user": USER}

    return app


def nobody(faults: Faults) -> FastAPI:
    """A service inside a network, which asks nobody who they are."""
    return _new()


SETTINGS: dict[Callable[[Faults], FastAPI], dict[str, Any]] = {
    form: {"login": "form", "login_path": "/token", "me_path": "/users/me"},  # without the slash, which redirects
    json: {
        "login": "json", "login_path": "/api/login", "me_path": "/api/me", "username_field": "email",
        "password_field": "pass", "login_fields": {"tenant": "t1"}, "token_field": "data.tokens.0.value",
        "token_scheme": "Token", "logout_path": "/api/logout",
    },
    page: {"login": "cookie", "login_path": "/login", "me_path": "/profile", "csrf_field": "csrf_token"},
    double_submit: {
        "login": "cookie", "login_path": "/session", "me_path": "/session", "login_content": "json",
        "csrf_path": "/csrf", "csrf_cookie": "XSRF-TOKEN", "csrf_header": "X-XSRF-TOKEN", "logout_path": "/session/end",
    },
    key: {"login": "header", "token": KEY, "token_header": "X-API-Key", "token_scheme": "none", "me_path": "/whoami"},
    nobody: {"login": "none"},
}  # fmt: skip


@contextlib.contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of ``app`` while it is served."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()

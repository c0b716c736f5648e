"""The dashboard's optional login, by a small OpenID Connect provider of its own on this machine."""

from __future__ import annotations

import threading
import time
from urllib.parse import urlencode

import pytest
import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from stack import ports, services
from store import schema
from store.client import writer
from tests.browser import PAGES, browser_page

EMAIL = "meter.reader@example.org"
SECRETS = """
[auth]
redirect_uri = "{dashboard}/oauth2callback"
cookie_secret = "0123456789abcdef0123456789abcdef"
client_id = "dashboard"
client_secret = "for tests only"
server_metadata_url = "{provider}/.well-known/openid-configuration"
"""


class Provider:
    """Logs everyone in as EMAIL (OpenID Connect Core 1.0, authorization code flow)."""

    def __init__(self):
        self.key = RSAKey.generate_key(2048, {"kid": "1", "use": "sig"})
        self.nonce = ""
        app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.configuration),
                Route("/keys", self.keys),
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
            ]
        )
        self.socket = ports.listener_near(0)
        self.url = f"http://{ports.LOOPBACK}:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join()

    def configuration(self, request):
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    def keys(self, request):
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    def authorize(self, request):
        parameters = request.query_params
        self.nonce = parameters.get("nonce", "")
        return RedirectResponse(f"{parameters['redirect_uri']}?{urlencode({'code': 'once', 'state': parameters['state']})}")

    def token(self, request):
        now = int(time.time())
        claims = {"iss": self.url, "aud": "dashboard", "sub": "1", "email": EMAIL, "iat": now, "exp": now + 600, "nonce": self.nonce}
        return JSONResponse(
            {
                "access_token": "none",
                "token_type": "Bearer",
                "expires_in": 600,
                "id_token": jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.key),
            }
        )


@pytest.fixture
def dashboard(clickhouse, processes, tmp_path, monkeypatch):
    """The address of a dashboard that requires a login."""
    settings = clickhouse.but(clickhouse_database="login")
    schema.create(writer(settings), settings)
    with Provider() as provider:
        secrets = tmp_path / "secrets.toml"
        secrets.write_text(SECRETS.format(dashboard=services.dashboard_url(settings), provider=provider.url))
        monkeypatch.setenv("STREAMLIT_SECRETS_FILES", str(secrets))
        services.start_dashboard(processes, settings)
        yield services.dashboard_url(settings)
        processes.stop("dashboard")


def test_nothing_is_shown_before_a_login(dashboard):
    with browser_page() as page:
        for path in ("", *PAGES):
            page.goto(f"{dashboard}/{path}")
            expect(page.get_by_role("button", name="Log in")).to_be_visible()
            expect(page.get_by_role("heading", level=1)).to_have_text("Smart Meter Watchdog")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text(f"Logged in as {EMAIL}")).to_be_visible()
        expect(page.get_by_text("There are no results yet.")).to_be_visible()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("button", name="Log in")).to_be_visible()

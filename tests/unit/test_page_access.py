import pytest

from orchestrator.dashboard.access import COOKIE, Gate

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "good"}


def admits(headers=None, cookies=None, environment=TOKEN):
    return Gate(environment, frozenset()).admits(headers or {}, cookies or {})


@pytest.mark.parametrize(
    ("headers", "cookies"),
    [
        ({"authorization": "Bearer good"}, {}),
        ({"x-ray-authorization": "Bearer good"}, {}),
        ({}, {COOKIE: "good"}),
    ],
)
def test_rays_token_is_taken_from_where_ray_takes_it(headers, cookies):
    assert admits(headers, cookies)


@pytest.mark.parametrize(
    ("headers", "cookies"),
    [
        ({}, {}),
        ({"authorization": "Bearer bad"}, {}),
        ({"authorization": "Bearer "}, {}),
        ({}, {COOKIE: "bad"}),
        ({}, {COOKIE: "é"}),
    ],
)
def test_without_the_token_nothing_is_shown(headers, cookies):
    assert not admits(headers, cookies)


def test_where_no_token_exists_nobody_is_let_in(tmp_path):
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}
    assert not admits({"authorization": "Bearer "}, environment=environment)
    assert not admits({}, {COOKIE: ""}, environment=environment)


def test_the_token_may_lie_in_a_file_that_ray_writes_later(tmp_path):
    path = tmp_path / "token"
    gate = Gate({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}, frozenset())
    assert not gate.admits({"authorization": "Bearer good"}, {})
    path.write_text("good\n")
    assert gate.admits({"authorization": "Bearer good"}, {})


def test_a_dashboard_that_asks_for_no_token_has_an_open_page(tmp_path):
    assert admits(environment={"RAY_AUTH_MODE": "disabled"})
    assert admits(environment={"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")})


def test_where_a_token_exists_it_is_asked_for_though_nothing_says_so_as_ray_does(tmp_path):
    (tmp_path / "token").write_text("good")
    environment = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    assert not admits(environment=environment)

    assert admits({"authorization": "Bearer good"}, environment=environment)


def test_a_ticket_is_good_once():
    gate = Gate(TOKEN, frozenset({"a", "b"}))
    assert gate.redeem("a")
    assert not gate.redeem("a")
    assert not gate.redeem("")
    assert gate.redeem("b")


def test_a_mode_that_is_set_to_nothing_is_not_set(tmp_path):
    """Ray would be open then; a Ray that we start is not, and an open one has its tab shut."""
    (tmp_path / "token").write_text("good")
    environment = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"), "RAY_AUTH_MODE": ""}
    assert not admits(environment=environment)

from intelstream.sdk.http_answers import conditions, validators

HEADERS = {"ETag": '"a"', "Last-Modified": "Fri, 01 Mar 2024 00:00:00 GMT", "Server": "x"}
URL = "https://host.example/list"


def test_what_is_kept_of_an_answer_asks_for_what_is_newer() -> None:
    kept = validators(URL, HEADERS)

    assert conditions(URL, kept) == {"If-None-Match": '"a"', "If-Modified-Since": HEADERS["Last-Modified"]}


def test_nothing_is_asked_of_another_url_nor_where_nothing_was_said() -> None:
    assert conditions("https://host.example/other", validators(URL, HEADERS)) == {}
    assert conditions(URL, validators(URL, {})) == {}
    assert conditions(URL, {}) == {}

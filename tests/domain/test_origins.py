import pytest

from melagent.domain.origins import allowed_origin, origin_of


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("api.example.com", "https://api.example.com/a?b=c"),
        ("API.Example.com", "https://api.example.com:443/"),
        ("api.example.com", "https://API.EXAMPLE.COM./"),
        ("api.example.com:8443", "https://api.example.com:8443"),
        ("*.example.com", "https://a.example.com"),
        ("*.example.com", "https://a.b.example.com"),
        ("http://10.0.0.5:8080", "http://10.0.0.5:8080/x"),
        ("[::1]:8443", "https://[::1]:8443/x"),
        ("müller.example", "https://xn--mller-kva.example/"),
    ],
)
def test_secret_may_go_to_an_allowed_host(entry, url):
    assert allowed_origin(entry).covers(origin_of(url))


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("api.example.com", "http://api.example.com/"),
        ("api.example.com", "https://api.example.com:8443/"),
        ("api.example.com", "https://api.example.com.evil.example/"),
        ("api.example.com", "https://evil-api.example.com/"),
        ("api.example.com", "https://api.example.com@evil.example/"),
        ("api.example.com", "https://evil.example/#api.example.com"),
        ("*.example.com", "https://example.com/"),
        ("*.example.com", "https://.example.com/"),
        ("*.example.com", "https://badexample.com/"),
        ("http://10.0.0.5", "https://10.0.0.5/"),
    ],
)
def test_secret_goes_nowhere_else(entry, url):
    try:
        origin = origin_of(url)
    except ValueError:
        return
    assert not allowed_origin(entry).covers(origin)


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*",
        "*.com",
        "a.*.com",
        "**.a.com",
        "a.com/path",
        "u@a.com",
        "a.com?x",
        "a.com#x",
        "ftp://a.com",
        "a b",
        "a..b",
        "[::1]@",
        "a[b]c@",
    ],
)
def test_entry_that_is_no_host_is_refused_and_named(entry):
    with pytest.raises(ValueError, match="is no host such as"):
        allowed_origin(entry)


@pytest.mark.parametrize("url", ["", "/x", "ftp://a.com", "https://", "mailto:a@b", "http://[::1]@"])
def test_address_without_an_origin_is_refused(url):
    with pytest.raises(ValueError, match="expected an address"):
        origin_of(url)

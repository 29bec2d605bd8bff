"""Stories in a browser: each page is there, works, keeps to the policy, and hides nothing from a screen reader."""

import gzip
import re


def test_the_set_up_link_makes_the_administrator_and_leads_in(serve, play):
    with serve() as fresh:
        play("set-up", fresh)


def test_people_sign_in_come_back_to_where_they_were_and_sign_out(cluster, play):
    play("sign-in", cluster)


def test_workflows_are_made_imported_dropped_found_duplicated_and_deleted(cluster, play):
    play("workflows", cluster)


def test_a_run_is_followed_live_and_can_be_cancelled_retried_and_replayed(cluster, play):
    play("runs", cluster)


def test_a_connection_is_made_tried_and_changed_without_its_secret(cluster, play):
    play("connections", cluster)


def test_every_page_is_fit_in_light_and_dark_and_on_a_small_screen(cluster, play):
    play("every-page", cluster)


def test_a_page_whose_files_are_gone_is_loaded_anew_once(cluster, play):
    play("upgrade", cluster)


FIRST_LOAD_BYTES = 300 * 1024


def test_what_is_loaded_before_the_canvas_is_small(built):
    page = (built / "index.html").read_text()
    first = re.findall(r'(?:src|href)="/assets/([^"]+\.js)"', page)
    assert first, "the page loads something"
    assert sum((built / "assets" / f"{name}.gz").stat().st_size for name in first) <= FIRST_LOAD_BYTES


def test_what_is_sent_packed_is_what_is_sent_plain(built):
    packed = [path for path in (built / "assets").iterdir() if path.suffix == ".gz"]
    assert packed
    for path in packed:
        assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes(), path.name
        assert path.with_suffix(".br").is_file()

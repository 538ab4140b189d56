"""Durations in docker's words."""

import pytest

from tiffin.model.duration import in_words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (2 * 3600, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (3 * 365 * 86400, "3 years"),
    ],
)
def test_durations_read_as_docker_words_them(seconds: float, text: str) -> None:
    assert in_words(seconds) == text

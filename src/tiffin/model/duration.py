"""How long something took or lasts, in docker's words."""

_LONGER = ((48, 1, "hours"), (336, 24, "days"), (1440, 168, "weeks"), (17520, 720, "months"))  # below so many hours


def in_words(seconds: float) -> str:
    """As docker rounds: whole units, the first hour from 60 min, days from 48 h, weeks from 14 d, …"""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, divisor, name in _LONGER:
        if hours < limit:
            return f"{hours // divisor} {name}"
    return f"{int(seconds / 3600) // 24 // 365} years"
